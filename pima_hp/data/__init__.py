"""The table, its splits and the batches: everything a run reads."""
