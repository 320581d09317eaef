"""Draw the laboratories."""
