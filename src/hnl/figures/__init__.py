"""The figures of the search."""
