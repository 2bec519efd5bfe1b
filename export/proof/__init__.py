"""Whether an exported form computes what Keras does."""
