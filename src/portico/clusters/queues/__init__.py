"""Batch systems: submission, states and removal of jobs."""
