"""Figures and tables of a study, drawn from its frame of runs; never imports torch."""
