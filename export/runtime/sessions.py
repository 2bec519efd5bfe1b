"""Opens and runs sessions of onnxruntime, quietly and without silent fallbacks."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime

from ..errors import DeviceError, ExportError
from ..storage.arrays import Batch
from .providers import CUDA, DEVICES, DIRECTML, OPENVINO, Device, Provider

NOTHING = 4
_WITH_WEIGHTS = {*("Conv", "ConvTranspose", "MatMul", "Gemm", "LSTM", "GRU", "RNN"), *("MatMulInteger", "MatMulNBits")}

# Where in its source onnxruntime raised an error: file, line and signature.
_IN_SOURCE = re.compile(r"^/\S+:\d+ [^\n]*?\) (?=[A-Z])")

# On a machine without a GPU the CUDA build logs what it does not find; here that is an exception.
onnxruntime.set_default_logger_severity(NOTHING)


def open_session(
    path: Path, *, optimise: bool = True, device: Device = "cpu", options: onnxruntime.SessionOptions | None = None
) -> onnxruntime.InferenceSession:
    """Opens an ONNX file on a device.

    Raises:
        ExportError: If onnxruntime does not accept the file.
        DeviceError: If the device is not there or computes too little, where onnxruntime would fall back to the CPU.
    """
    options = options or onnxruntime.SessionOptions()
    # A session raises every error that it would log.
    options.log_severity_level = NOTHING
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimise else level.ORT_DISABLE_ALL
    provider = DEVICES[device]
    if provider.name not in onnxruntime.get_available_providers():
        raise DeviceError(f"The installed onnxruntime has no {provider.name}. {provider.needs}")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "0" if device == "cpu" else "1")
    providers = [(provider.name, _choose_options(provider, options)), *provider.fallbacks]
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
    except Exception as error:  # onnxruntime's exceptions have no common base of their own.
        # The CPU opens the file before any other provider, which then fails only for want of a library.
        failed = ExportError if device == "cpu" else DeviceError
        message = f"onnxruntime cannot open {path} on {provider.name}: {_IN_SOURCE.sub('', str(error))}".rstrip()
        raise failed(f"{message} {provider.needs}".rstrip()) from error
    if (first := session.get_providers()[0]) != provider.name:
        raise DeviceError(f"onnxruntime does not run on {provider.name}, but on {first}. {provider.needs}")
    if device != "cpu":
        _check_placement(session, device)
    return session


def _choose_options(provider: Provider, options: onnxruntime.SessionOptions) -> dict[str, str]:
    """Returns the options of a provider, some of which follow from those of the session or change them."""
    if provider.name == DIRECTML:
        options.enable_mem_pattern = False  # DirectML does not allow it.
    if provider.name == OPENVINO and options.intra_op_num_threads:
        return {**provider.options, "num_of_threads": str(options.intra_op_num_threads)}
    return dict(provider.options)


def count_placed(session: onnxruntime.InferenceSession) -> Counter[tuple[str, str]]:
    """Counts the operations of a session that was opened on a device, by provider and type."""
    parts = session.get_provider_graph_assignment_info()
    return Counter((part.ep_name, node.op_type) for part in parts for node in part.get_nodes())


def _check_placement(session: onnxruntime.InferenceSession, device: Device) -> None:
    """Raises a DeviceError if most of the operations with weights, or of all if none has any, run elsewhere."""
    provider = DEVICES[device]
    if not hasattr(session, "get_provider_graph_assignment_info"):
        if provider.name == CUDA:
            return
        raise DeviceError(
            f"Expected onnxruntime 1.24 or newer for {device}, which tells where it computes. "
            f"Received: onnxruntime {onnxruntime.__version__}"
        )
    placed = count_placed(session)
    counted = Counter({key: n for key, n in placed.items() if key[1] in _WITH_WEIGHTS}) or placed
    there = sum(n for (name, _), n in counted.items() if name == provider.name)
    if 2 * there < counted.total():
        what = "operations" if counted is placed else "operations with weights"
        raise DeviceError(
            f"Expected {provider.name} to compute at least half of the {what}. "
            f"Received: {there} of {counted.total()}; onnxruntime falls back to another provider for the rest"
        )


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
