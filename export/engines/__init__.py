"""What turns a model into an ONNX file: an engine for each backend of Keras, behind one seam.

    tensorflow.py    tf2onnx, on TensorFlow in this process
    elsewhere.py     tf2onnx, in a process on TensorFlow, for models on JAX and PyTorch
    with_jax.py      jax2onnx, on JAX and without TensorFlow
    with_torch.py    torch.onnx, on PyTorch and without TensorFlow

No engine is trusted: every file is compared with the caller's model on the caller's backend.
"""
