"""The run folder: its ledger, who may write to it, and reading and exporting what it holds."""
