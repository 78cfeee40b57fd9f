"""Read and write checkpoints: this project's own and those of other implementations."""
