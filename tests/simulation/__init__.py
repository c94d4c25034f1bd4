"""Deterministic simulation: drivers in the world of one seed, where everything fails, and what must hold all the same.

The scheduler, the chunk loop, the step runner, the ledger, merging and tidying are the real ones. Executor, clock,
storage of trees, and what SQLite answers are simulated. `python -m tests.simulation --seeds 7` repeats seed 7.
"""
