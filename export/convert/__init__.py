"""From Keras to a SavedModel and to ONNX."""
