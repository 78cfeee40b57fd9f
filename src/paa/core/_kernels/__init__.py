"""Triton kernels for GPUs, each with the results of the module of the same name in `core/`."""
