"""CUDA kernels around the same rule and the same solver."""
