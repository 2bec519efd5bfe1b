"""Turns a trained Keras model into a SavedModel and an ONNX file, and proves that they compute the same thing.

    storage/    artifact.json, arrays, publishing in one step, checks of untrusted files
    model/      the inputs and outputs of a model, and the function that is exported
    runtime/    onnxruntime in a process of its own
    convert/    from Keras to SavedModel and ONNX
    engines/    the converters: on TensorFlow, in a second process for other backends, or without TensorFlow
    precision/  fp16, int8 and int4
    proof/      the comparison with Keras
    page/       the parts that the pages of the server and of the web target share
    targets/    OpenVINO, LiteRT, ORT format, and a folder for the browser
    serving/    the server, and files for other servers
    prediction/ predictions for files of any number

Each folder imports only from those above it. Converting needs Keras, and TensorFlow or another engine. Checking an
artifact and predicting with it need only NumPy, onnx and onnxruntime. `__init__.pyi` lists the public names. They load
on first use, so importing this package imports none of those libraries.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
