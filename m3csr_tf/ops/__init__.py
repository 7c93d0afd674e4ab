"""Kernels in plain TensorFlow ops that layers and models use: gathers, products, history slots, hashing, replicas."""
