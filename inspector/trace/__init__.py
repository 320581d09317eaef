"""Hold one prompt's recorded run, and compute any head's scores, weights and context from it."""
