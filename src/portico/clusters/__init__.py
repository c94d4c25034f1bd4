"""Dask clusters that portico starts, and the batch systems that it submits to."""
