"""Counts the layers of Keras that an engine converts on the current backend, each layer in a network of its own.

    python -m benchmarks.export.engines ENGINE [KIND ...]

The engine is jax2onnx with `KERAS_BACKEND=jax` and torch with `KERAS_BACKEND=torch`. A line is printed for each layer
that differs by more than 1e-5 or is refused, and the others are counted. KIND limits it to those kinds of layers.
"""

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

OPSETS = {"tf2onnx": 17, "jax2onnx": 21, "torch": 20}
ALLOWED = 1e-5
_SHOWN = 160


def judge(layer: Any, kind: Any, engine: Any, opset: int, file: Path) -> str:
    """Returns "agrees", or a sentence that says what is wrong."""
    import keras
    import numpy as np
    import onnx
    import onnxruntime

    from export.model.wrapping import make_endpoint
    from tests.export.models import randomise
    from tests.export.test_keras_layers import KINDS, examples

    x = examples(kind)
    inputs = keras.Input(KINDS[kind], dtype=x.dtype.name, name="input")
    model = randomise(keras.Model(inputs, layer(inputs)))
    try:
        endpoint = make_endpoint(model, samples=x, tracer=engine)
        onnx.save(engine.convert(endpoint, opset), file)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        received = session.run(None, {"input": x})[0]
    except Exception as error:  # Engines and onnxruntime raise errors of many kinds.
        return f"refused: {' '.join(str(error).rpartition('Received: ')[2].split())[:_SHOWN]}"
    (expected,) = endpoint.run({"input": x}).values()
    if (received.shape, received.dtype) != (expected.shape, expected.dtype):
        return f"differs: {received.dtype} {received.shape} instead of {expected.dtype} {expected.shape}"
    share = float(np.max(np.abs(received * 1.0 - expected))) / max(1.0, float(np.max(np.abs(expected))))
    return "agrees" if share <= ALLOWED else f"differs: by {share:.1e}"


def main(name: Any, kinds: list[str], show: Callable[[str], None] = print) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from export.engines.choice import open_engine
    from tests.export.test_keras_layers import KINDS

    counted: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder, open_engine(name, OPSETS[name]) as engine:
        for kind in KINDS:
            for told, layer in kind().items() if not kinds or kind.__name__ in kinds else ():
                found = judge(layer, kind, engine, OPSETS[name], Path(folder) / "model.onnx")
                counted[found.partition(":")[0]] += 1
                if found != "agrees":
                    show(f"{kind.__name__}: {told}: {found}")
            show(f"after {kind.__name__}: {dict(counted)}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
