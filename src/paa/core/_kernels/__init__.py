"""Triton kernels for GPUs, each with the results of the module of its name in `core/`."""
