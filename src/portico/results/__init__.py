"""What steps return: products that merge over chunks, and how users see them."""
