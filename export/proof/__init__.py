"""Proves that an exported form computes the same as Keras."""
