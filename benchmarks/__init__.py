"""The same work done by us and by what one would use instead, as ratios. Nothing here is timed in the tests."""
