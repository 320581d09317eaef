"""A model ready to be looked into: its forward passes, sizes, costs, and our layers for its attention."""
