"""What the later steps read from the results of earlier ones."""
