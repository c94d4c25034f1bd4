"""What a step needs on a worker, and how it gets there."""
