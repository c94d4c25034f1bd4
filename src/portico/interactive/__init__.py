"""Interactive work: a session whose workers stay, fills that run while one looks, and what is shown of them."""
