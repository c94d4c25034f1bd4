"""Products that steps return, merged over chunks, and the results that users get from them."""
