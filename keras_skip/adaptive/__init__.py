"""Skips that are learned: residual streams, weights over earlier layers, and stacks that compare them."""
