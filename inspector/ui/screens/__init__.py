"""Draw the app's pages, a file each, and what they share."""
