"""Other people's checkpoints, and this project's own, as one kind of weights."""
