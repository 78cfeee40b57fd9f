"""Probabilistic Anchor Assignment with IoU Prediction, in today's PyTorch."""
