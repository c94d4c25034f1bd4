"""Files of the search for other programs."""
