"""Batch systems: submit, look, remove."""
