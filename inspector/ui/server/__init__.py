"""Serve many visitors from one process: what is stored, for whom, and within which limits."""
