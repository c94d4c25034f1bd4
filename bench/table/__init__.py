"""The table of ratios between Portico and other programs that answer the same questions about the same events."""
