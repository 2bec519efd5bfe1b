"""onnxruntime, quiet and without silent fallbacks: each runner is a plain callable from array to array."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from .errors import ExportError

Runner = Callable[[np.ndarray], np.ndarray]

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_ERRORS, _NOTHING = 3, 4

# On a machine without a GPU the CUDA build warns of what it does not find.
onnxruntime.set_default_logger_severity(_ERRORS)


def open_session(path: Path, *, optimise: bool = True, provider: str = CPU) -> Any:
    """Opens an ONNX file on one execution provider.

    Raises:
        ExportError: If onnxruntime does not accept the file.
        RuntimeError: If onnxruntime would fall back to another provider.
    """
    options = onnxruntime.SessionOptions()
    # What a session would log as an error it also raises.
    options.log_severity_level = _NOTHING
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimise else level.ORT_DISABLE_ALL
    providers = [(provider, {"use_tf32": "0"} if provider == CUDA else {})]
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
    except Exception as error:  # onnxruntime's exceptions have no common base of their own.
        raise ExportError(f"Expected onnxruntime to open {path}. Received: {error}") from error
    if session.get_providers()[0] != provider:
        raise RuntimeError(f"Expected onnxruntime to run on {provider}. Received: {session.get_providers()[0]}")
    return session


def runner(session: Any) -> Runner:
    """Makes a callable of a session with one input and one output; what onnxruntime raises becomes an ExportError."""
    (name,) = [value.name for value in session.get_inputs()]

    def run(x: np.ndarray) -> np.ndarray:
        try:
            return session.run(None, {name: x})[0]
        except Exception as error:
            raise ExportError(f"Expected onnxruntime to run on shape {x.shape}. Received: {error}") from error

    return run


def onnx_runners(path: Path) -> tuple[dict[str, Runner], dict[str, str]]:
    """Opens an ONNX file in every way it will be run.

    Returns:
        Runners by name, and for each way that this machine does not have, the reason.
    """
    runners = {
        "onnxruntime, not optimised": runner(open_session(path, optimise=False)),
        "onnxruntime, optimised": runner(open_session(path)),
    }
    name, absent = "onnxruntime, CUDA", {}
    if CUDA not in onnxruntime.get_available_providers():
        absent[name] = "This build of onnxruntime has no CUDA provider."
    else:
        # That there is no GPU is a result here, not an error.
        onnxruntime.set_default_logger_severity(_NOTHING)
        try:
            runners[name] = runner(open_session(path, provider=CUDA))
        except (ExportError, RuntimeError) as error:
            absent[name] = str(error)
        finally:
            onnxruntime.set_default_logger_severity(_ERRORS)
    return runners, absent
