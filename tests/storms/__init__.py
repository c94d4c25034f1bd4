"""Storms on the run folder: random faults, then whatever a user may do, and a check that nothing is silently wrong."""
