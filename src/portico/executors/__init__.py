"""Executors, which run chunks: local processes, Dask and batch jobs behind one interface."""
