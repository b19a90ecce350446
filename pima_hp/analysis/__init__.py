"""Statistics, estimates and verdicts from the runs of a study; torch is imported only to draw splits for baselines."""
