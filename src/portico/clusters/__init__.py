"""Clusters that portico starts, and the batch systems beneath them."""
