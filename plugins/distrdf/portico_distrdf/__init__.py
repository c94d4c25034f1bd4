"""An executor of portico that runs steps with ROOT's own distributed RDataFrame on Dask."""
