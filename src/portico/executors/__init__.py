"""Where chunks run: local processes or Dask; one protocol."""
