"""Fits of masses, shapes and decay lengths."""
