"""The run folder: its ledger, its owner, and reading and exporting its content."""
