"""The process with ROOT that runs chunks on a worker, and its messages."""
