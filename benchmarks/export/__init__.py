"""Measures which networks export, how fast, how near to Keras they stay, and how fast the files run."""
