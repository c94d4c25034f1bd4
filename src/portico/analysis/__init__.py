"""The analysis: its steps, its dataset, how files are cut into chunks, and where data are blinded."""
