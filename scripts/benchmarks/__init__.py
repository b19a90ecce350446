"""What `scripts/benchmark` runs."""
