"""A trained Keras model becomes a SavedModel and an ONNX file that are proven to compute the same thing.

    storage/    files: artifact.json, arrays, publishing in one step, what is refused unread
    model/      what a model takes and gives
    runtime/    onnxruntime, in a process of its own
    convert/    Keras to SavedModel and ONNX
    precision/  fp16, int8, and how close each has to stay
    proof/      the comparison with Keras
    serving/    the server, and what others serve

Each imports from those above it alone. Converting needs Keras and TensorFlow; checking an artifact and predicting with
it need only NumPy, onnx and onnxruntime. `__init__.pyi` lists the public names, which load on first use, so that
importing this package imports none of those.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
