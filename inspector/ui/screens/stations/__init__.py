"""Draw the stations of the Walkthrough."""
