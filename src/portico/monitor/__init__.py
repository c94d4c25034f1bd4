"""What a run is doing and what it cost: progress, metrics, status."""
