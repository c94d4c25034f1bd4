"""Statistics: models, fits, limits. Knows nothing of what is searched for."""
