"""Code, credentials and scratch folders of a step on a worker, and the probe of a worker's own environment."""
