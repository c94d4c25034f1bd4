"""Interactive work: sessions that keep their workers, fills in the background, and their display."""
