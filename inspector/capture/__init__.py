"""Record the attention calls of a library's model as it runs, and change nothing of it."""
