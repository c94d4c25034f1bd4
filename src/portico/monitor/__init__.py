"""Progress, metrics and status of a run."""
