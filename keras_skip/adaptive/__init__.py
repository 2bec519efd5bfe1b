"""Skips that are learned: streams between layers, weights over the outputs of earlier layers, and stacks of layers."""
