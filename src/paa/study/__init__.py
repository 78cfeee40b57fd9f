"""Comparing assignment rules with everything else fixed: a training run for each data set, rule and seed."""
