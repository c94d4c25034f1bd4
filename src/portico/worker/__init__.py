"""Code that runs beside ROOT on a worker: the process that runs chunks, and its messages."""
