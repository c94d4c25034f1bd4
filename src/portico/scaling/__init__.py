"""Scaling of a step with workers and input: measurements, the laws fitted to them, and predictions."""
