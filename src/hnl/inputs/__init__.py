"""Readers of earlier steps' results, used by later steps."""
