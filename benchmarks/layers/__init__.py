"""Measures training steps and inference with our layers, against plain Keras layers, keras.applications and PyTorch."""
