"""Compute from a trace what is looked at: maps, vectors, what heads do, and how a score and an output add up."""
