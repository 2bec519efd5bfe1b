"""The errors of an export. All are ValueErrors whose message is a sentence."""

import re

# Keras and TensorFlow add these to their messages: colours, names inside a graph, source lines, and arguments.
_AROUND = re.compile(
    r"""\x1b\[\d*m|\{\{[^}]*\}\}|\[Op:.*|^in user code:|^ *File ".*", line \d+, in .*\n.*"""
    r"""|Arguments received by (?s:.*)""",
    re.MULTILINE,
)


def error_line(error: BaseException) -> str:
    """Returns the type and the message of an error in one line, without the additions of Keras and TensorFlow."""
    kind = f"{type(error).__name__}: "
    return kind + " ".join(_AROUND.sub("", str(error)).split()).removeprefix(kind)


class ExportError(ValueError):
    """The model cannot be converted as it is, or the converted model does not run."""


class DeviceError(ExportError, RuntimeError):
    """onnxruntime does not run on the requested device."""


class ParityError(ValueError):
    """Two forms of a model do not compute the same thing."""


class PrecisionError(ValueError):
    """A narrower precision costs too much accuracy, or saves no time."""


class VerificationError(ValueError):
    """An artifact on disk differs from the one that was exported."""
