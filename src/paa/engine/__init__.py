"""Train, evaluate, predict: the only part that knows both models and data."""
