"""What runs beside ROOT on a worker: the process that runs chunks, and how it is spoken to."""
