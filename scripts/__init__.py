"""Commands for people and for continuous integration."""
