"""Measurements over a whole split, with what a person wants to look at."""
