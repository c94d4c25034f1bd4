"""A run from its plan to its results: planning, the chunk loop, failures, and each step in order."""
