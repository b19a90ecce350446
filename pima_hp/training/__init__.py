"""Train runs: one at a time (solo), or thousands as one tensor program (stacked)."""
