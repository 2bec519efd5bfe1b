"""What can go wrong, by name. All are ValueErrors whose message is a sentence."""

import re

# In messages of Keras and TensorFlow: colours, names inside a graph, source lines on the way, what was passed.
_AROUND = re.compile(
    r"""\x1b\[\d*m|\{\{[^}]*\}\}|\[Op:.*|^in user code:|^ *File ".*", line \d+, in .*\n.*"""
    r"""|Arguments received by (?s:.*)""",
    re.MULTILINE,
)


def error_line(error: BaseException) -> str:
    """The type of an error of a model's own code and what it says, without what Keras and TensorFlow put around it."""
    kind = f"{type(error).__name__}: "
    return kind + " ".join(_AROUND.sub("", str(error)).split()).removeprefix(kind)


class ExportError(ValueError):
    """The model cannot be converted as it is, or what it was converted to does not run."""


class DeviceError(ExportError, RuntimeError):
    """onnxruntime does not run on what was asked for."""


class ParityError(ValueError):
    """Two forms of a model do not compute the same thing."""


class PrecisionError(ValueError):
    """A narrower precision costs too much accuracy, or saves no time."""


class VerificationError(ValueError):
    """An artifact on disk is not what was exported."""
