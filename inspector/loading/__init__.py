"""Find, download, convert and load a model, and refuse what cannot be inspected."""
