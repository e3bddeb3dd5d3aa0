"""Where tasks run: threads of this process, Dask or Ray."""
