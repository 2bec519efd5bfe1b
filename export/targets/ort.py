"""onnxruntime's own format, which its reduced builds for phones and the web load: made from the ONNX file.

The graph is optimised in the file, without the optimisations that suit only one kind of processor.
"""

import shutil
import tempfile
from pathlib import Path

from ..runtime.sessions import open_session, run_session
from .target import Compute, Library, make_target

LIBRARY = Library("ort", "ORT format", "onnx", "onnxruntime", "onnxruntime")


def convert(source: Path, path: Path) -> None:
    """Writes a file in ORT format."""
    from onnxruntime.tools.convert_onnx_models_to_ort import OptimizationStyle, convert_onnx_models_to_ort

    with tempfile.TemporaryDirectory(prefix=".keras-skip-", dir=path.parent) as folder:
        convert_onnx_models_to_ort(source, Path(folder), [OptimizationStyle.Fixed])
        shutil.move(Path(folder) / path.name, path)


def open_model(path: Path) -> Compute:
    """Opens a file on the CPU."""
    session = open_session(path)
    return lambda batch: run_session(session, batch)


def _require() -> str:
    import onnxruntime

    return f"onnxruntime {onnxruntime.__version__}"


TARGET = make_target(LIBRARY, "model.ort", convert, open_model, _require)
