"""Statistics: models, fits, limits. Independent of any search."""
