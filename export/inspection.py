"""Lists the contents of an ONNX file, and measures how long each operation takes."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .convert.onnx_model import check_onnx
from .convert.operation_counts import count_operations
from .errors import VerificationError
from .runtime.processes import run_tasks
from .runtime.providers import Device, check_device
from .runtime.worker import ANSWER, INPUTS, PROFILE
from .storage.arrays import Batch, write_batches
from .storage.manifest import MANIFEST, ONNX, read_manifest
from .storage.safety import check_onnx_file, check_regular, read_json

if TYPE_CHECKING:
    from onnx import ValueInfoProto

# onnxruntime spends time outside of its operations too.
BETWEEN = "(between operations)"
_SIZE = 32
_ELEMENTS = 2**28


def inspect(
    path: str | Path, *, batch_size: int = 1, runs: int = 20, device: Device = "cpu", size: int = _SIZE
) -> dict[str, Any]:
    """Lists the contents of an artifact or an ONNX file, and measures each operation under onnxruntime.

    Times are medians over warm runs. onnxruntime's profiler measures the operations and takes time itself, so their
    times are scaled to add up to a run without it.

    Args:
        path: The artifact's folder, or the file.
        batch_size: How many examples to run at once.
        runs: How many runs to measure.
        device: The device, as in `load`.
        size: The size of dynamic dimensions other than the batch.

    Returns:
        `inputs` and `outputs` (name, dtype, shape), `operations` (name, domain, count in the file), `kernels` (the
        optimised operations, and the time between them: name, count, microseconds in one run, share),
        `milliseconds` of one run, `bytes`, `opset`, `ir_version`, `metadata`, and the `columns` (name, kind, values) of
        a table whose rows an artifact takes.

    Raises:
        FileNotFoundError: If there is neither.
        VerificationError: If the file is broken, or refers to files elsewhere.
        DeviceError: If the device is not there.

    Example:
        >>> inspect("classifier")["kernels"][0]
        {'name': 'FusedConv', 'count': 19, 'microseconds': 812.4, 'share': 0.91}
    """
    check_device(device)
    for name, value in (("batch_size", batch_size), ("runs", runs), ("size", size)):
        if value < 1:
            raise ValueError(f"Expected {name} to be at least 1. Received: {name}={value}")
    file, columns = _find(Path(path))
    parts = [file, *check_onnx_file(file)]
    model = check_onnx(file)
    fixed = {initializer.name for initializer in model.graph.initializer}
    inputs = [_describe_tensor(value) for value in model.graph.input if value.name not in fixed]
    batch = {tensor["name"]: _draw(tensor, batch_size, size) for tensor in inputs}
    milliseconds, kernels = _profile(file, batch, runs, device)
    return {
        "file": str(file),
        "bytes": sum(part.stat().st_size for part in parts),
        "inputs": inputs,
        "outputs": [_describe_tensor(value) for value in model.graph.output],
        "operations": [
            {"name": name, "domain": domain, "count": count}
            for domain, counts in count_operations(model).items()
            for name, count in counts.items()
        ],
        "batch": {name: list(x.shape) for name, x in batch.items()},
        "milliseconds": milliseconds,
        "kernels": kernels,
        "opset": {opset.domain or "ai.onnx": opset.version for opset in model.opset_import},
        "ir_version": model.ir_version,
        "metadata": {entry.key: entry.value for entry in model.metadata_props},
        "columns": columns,
    }


def _find(path: Path) -> tuple[Path, list[dict[str, Any]]]:
    """Returns the ONNX file, and the columns of the table whose rows it takes."""
    if not path.exists():
        raise FileNotFoundError(f"Expected an artifact or an ONNX file. Received: {path}")
    if not path.is_dir():
        return path, []
    manifest = read_manifest(path)
    if ONNX not in manifest["files"] or not (path / ONNX).exists():
        raise VerificationError(
            f"Expected an artifact with an ONNX file. Received: {path}, whose {MANIFEST} lists none"
        )
    check_regular(path / ONNX)
    return path / ONNX, (manifest.get("table") or {"inputs": []})["inputs"]


def _describe_tensor(value: "ValueInfoProto") -> dict[str, Any]:
    import onnx

    kind = value.type.tensor_type
    return {
        "name": value.name,
        "dtype": onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name,
        "shape": [d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in kind.shape.dim],
    }


def _draw(tensor: Mapping[str, Any], batch_size: int, size: int) -> np.ndarray:
    shape = [n if isinstance(n, int) else batch_size if i == 0 else size for i, n in enumerate(tensor["shape"])]
    if int(np.prod(shape, dtype=object)) > _ELEMENTS:
        raise VerificationError(f"Expected an input of at most {_ELEMENTS} elements. Received: {shape}")
    if np.dtype(tensor["dtype"]).kind == "f":
        return np.random.default_rng(0).standard_normal(shape).astype(tensor["dtype"])
    # Zero is valid as a byte, as a token and as False.
    return np.zeros(shape, tensor["dtype"])


def _profile(file: Path, batch: Batch, runs: int, device: Device = "cpu") -> tuple[float, list[dict[str, Any]]]:
    with tempfile.TemporaryDirectory(prefix="keras-skip-") as name:
        folder = Path(name)
        write_batches(folder / INPUTS, {"": batch})
        run_tasks(folder, [(PROFILE, {"model": str(file), "device": device, "runs": runs})], [f"onnxruntime on {file}"])
        answer = read_json(folder / f"{ANSWER}-0")
    kernels = _scale_times(answer["kernels"], answer["profiled"], answer["milliseconds"])
    return answer["milliseconds"], sorted(kernels, key=lambda kernel: -kernel["microseconds"])


def _scale_times(kernels: list[dict[str, Any]], profiled: float, milliseconds: float) -> list[dict[str, Any]]:
    """Scales the times of kernels, and of the rest, from a run of `profiled` microseconds to one of `milliseconds`."""
    spent = sum(kernel["microseconds"] for kernel in kernels)
    # The profiler counts the operations inside a graph, and also the operation that contains it.
    between = {"name": BETWEEN, "count": 0, "microseconds": max(0.0, profiled - spent)}
    whole = max(profiled, spent) or 1.0
    shares = [(part, part["microseconds"] / whole) for part in (*kernels, between)]
    return [{**part, "microseconds": 1e3 * milliseconds * share, "share": share} for part, share in shares]
