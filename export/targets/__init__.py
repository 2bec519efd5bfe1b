"""The targets: formats of other runtimes, to which an artifact can be converted with the same proof.

    TARGETS[name].build(source, path)        writes the files
    TARGETS[name].run(path, batches)         runs them in the runtime of that target, outside this process

To add a target, write a file here that defines `TARGET`, and add it to the table below. Functions import the runtime.
"""

from . import litert, openvino, ort, web
from .target import Target

TARGETS: dict[str, Target] = {each.TARGET.name: each.TARGET for each in (openvino, litert, ort, web)}
