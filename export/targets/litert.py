"""LiteRT's flatbuffer (.tflite), for phones and small devices: TensorFlow converts the SavedModel.

It holds only LiteRT's own operations: no package runs others, which are TensorFlow's, so they could not be proven.
"""

import re
from pathlib import Path

from ..errors import ExportError
from ..storage.arrays import Batch
from .target import Compute, Library, Unavailable, make_target

LIBRARY = Library("litert", "LiteRT", "saved_model", "ai_edge_litert", "ai-edge-litert")
_FOREIGN = re.compile(r"(?:TF Select|Custom) ops: (.+)")


def convert(source: Path, path: Path) -> None:
    """Writes the flatbuffer of a SavedModel, whose weights stay in float32."""
    import tensorflow as tf

    from ..convert.saved_model import check_saved_model

    # The artifact may have come from elsewhere.
    check_saved_model(source)
    try:
        path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(source)).convert())
    except Exception as error:  # The converter's own errors derive from Exception.
        if found := _FOREIGN.findall(str(error)):
            received = "; ".join(dict.fromkeys(found))
            raise ExportError(f"Expected operations that LiteRT has. Received: {received}") from error
        raise


def open_model(path: Path) -> Compute:
    """Opens a flatbuffer; the batch and other dynamic sizes are those of each input."""
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_path=str(path)).get_signature_runner()

    def run(batch: Batch) -> Batch:
        return dict(runner(**batch))

    return run


def _require() -> str:
    from importlib.util import find_spec

    if find_spec("tensorflow") is None:
        raise Unavailable("The target litert needs TensorFlow, which converts to it and is not installed.")
    return LIBRARY.require()


TARGET = make_target(LIBRARY, "model.tflite", convert, open_model, _require)
