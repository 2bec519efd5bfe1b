"""onnxruntime, in a process of its own where a crash must not end the caller."""
