"""Measures speed, memory and exports. Each file runs as a module, such as `python -m benchmarks.layers.steps`."""

import os

# Keras and TensorFlow read these when they are first imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
