"""Is my attention right? Somebody's own attention judged by the model's numbers, with the cause measured."""
