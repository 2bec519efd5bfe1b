"""What can go wrong, by name. All are ValueErrors whose message is a sentence."""


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
