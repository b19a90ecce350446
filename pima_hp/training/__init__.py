"""Train runs: by Lightning one at a time (solo), or one to thousands as one program (stacked, fused)."""
