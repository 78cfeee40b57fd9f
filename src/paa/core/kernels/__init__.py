"""Triton kernels for GPUs: the same results as `core/`'s functions for the host."""
