"""What an artifact is converted to beside SavedModel and ONNX, each with the same proof.

    TARGETS[name].build(source, path)        writes the files
    TARGETS[name].run(path, batches)         runs them with the runtime of that target, apart from this process

A new target is a file here with a `Target`, and its name in the table below. Its runtime is imported where it runs.
"""

from . import litert, openvino, ort, web
from .target import Target

TARGETS: dict[str, Target] = {each.TARGET.name: each.TARGET for each in (openvino, litert, ort, web)}
