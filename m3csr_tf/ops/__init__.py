"""Kernels in plain TensorFlow ops, below the layers: gathers, products, history rows, hashing, replicas."""
