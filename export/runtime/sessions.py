"""Opens and runs sessions of onnxruntime, quietly and without silent fallbacks."""

from pathlib import Path

import numpy as np
import onnxruntime

from ..errors import DeviceError, ExportError
from ..storage.arrays import Batch
from .providers import CPU, CUDA

NOTHING = 4

# On a machine without a GPU the CUDA build logs what it does not find; here that is an exception.
onnxruntime.set_default_logger_severity(NOTHING)


def open_session(
    path: Path, *, optimise: bool = True, provider: str = CPU, options: onnxruntime.SessionOptions | None = None
) -> onnxruntime.InferenceSession:
    """Opens an ONNX file on one execution provider.

    Raises:
        ExportError: If onnxruntime does not accept the file.
        DeviceError: If the provider is not there, where onnxruntime would fall back to another.
    """
    options = options or onnxruntime.SessionOptions()
    # A session raises every error that it would log.
    options.log_severity_level = NOTHING
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimise else level.ORT_DISABLE_ALL
    if provider not in onnxruntime.get_available_providers():
        raise DeviceError(f"The installed onnxruntime has no {provider}.")
    # TF32 is coarser than the tolerances.
    providers = [(provider, {"use_tf32": "0"} if provider == CUDA else {})]
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
    except Exception as error:  # onnxruntime's exceptions have no common base of their own.
        # The CPU opens the file before any other provider, which then fails only for want of a library.
        failed = ExportError if provider == CPU else DeviceError
        raise failed(f"onnxruntime cannot open {path} on {provider}: {error}") from error
    if session.get_providers()[0] != provider:
        needs = " It needs an NVIDIA GPU and the libraries of the extra cuda." if provider == CUDA else ""
        raise DeviceError(f"onnxruntime does not run on {provider}, but on {session.get_providers()[0]}.{needs}")
    return session


def memory_saving_options() -> onnxruntime.RunOptions:
    """Returns options for a run on the CPU, after which onnxruntime gives its memory back."""
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


def run_session(
    session: onnxruntime.InferenceSession, batch: Batch, options: onnxruntime.RunOptions | None = None
) -> Batch:
    """Runs a batch, with onnxruntime's RunOptions if there are any, and turns its errors into ExportErrors."""
    names = [value.name for value in session.get_outputs()]
    try:
        return dict(zip(names, map(np.asarray, session.run(names, batch, options)), strict=True))
    except Exception as error:
        shapes = ", ".join(str(x.shape) for x in batch.values())
        raise ExportError(f"onnxruntime cannot run on shape {shapes}: {error}") from error


def session_tensors(
    session: onnxruntime.InferenceSession,
) -> dict[str, list[tuple[str, str, tuple[int | str | None, ...]]]]:
    """Returns the name, type and shape of a session's inputs and outputs."""
    return {
        kind: [(value.name, _numpy_name(value.type), tuple(value.shape)) for value in values]
        for kind, values in (("inputs", session.get_inputs()), ("outputs", session.get_outputs()))
    }


def _numpy_name(kind: str) -> str:
    # onnxruntime names types such as tensor(float) and tensor(int64).
    name = kind.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(name, name)
