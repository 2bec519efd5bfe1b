"""The engines that convert a model to ONNX. All have the interface in engine.py.

    tensorflow.py             tf2onnx, in this process, for models on TensorFlow
    tensorflow_process.py     tf2onnx, in a process on TensorFlow, for models on JAX and PyTorch
    with_jax.py               jax2onnx, for models on JAX, without TensorFlow
    with_torch.py             torch.onnx, for models on PyTorch, without TensorFlow

No engine is trusted: every file is compared with the caller's model on the caller's backend.
"""
