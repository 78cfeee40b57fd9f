"""Searching for a better recipe: trials, each an ordinary training run, in a study that can be stopped and goes on."""
