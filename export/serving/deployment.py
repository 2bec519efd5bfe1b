"""Writes the files that serve an artifact elsewhere: a model repository for Triton, a manifest for KServe."""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from ..errors import VerificationError
from ..storage.manifest import ONNX, check_files, gates_output, is_batchable, read_manifest, write_json
from ..storage.publishing import holds_only, publish
from ..storage.safety import check_onnx_file, read_json
from .limits import check_limit
from .protocol.datatypes import DATATYPES

Target = Literal["triton", "kserve"]
TARGETS = get_args(Target)
_VERSION, _CONFIG, _LABELS = "1", "config.pbtxt", "labels.txt"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def deploy(
    artifact: str | Path,
    out: str | Path,
    *,
    target: Target,
    name: str | None = None,
    storage_uri: str | None = None,
    max_batch_size: int = 32,
    max_delay: float = 0.002,
    queue: int = 256,
    overwrite: bool = False,
) -> Path:
    """Writes the files that other servers need to serve an artifact as `serve` does, with its ONNX file unchanged.

    For "triton" that is a folder OUT/NAME, an entry of a Triton model repository: the ONNX file, a file of labels, and
    a configuration, with dynamic batching if examples are proven to be independent. For "kserve" it is a file
    OUT/NAME.json, an InferenceService for `kubectl apply -f`, which runs Triton on such a repository.

    Args:
        artifact: The folder of the artifact.
        out: The model repository, or the folder of the manifest.
        target: "triton" or "kserve".
        name: The name of the model for clients; the artifact's name by default.
        storage_uri: The address where the cluster finds the model repository, such as "s3://bucket/models"; only for
            "kserve", which needs it.
        max_batch_size: How many examples to run at once; for "triton".
        max_delay: How many seconds a request may wait for others to run with; for "triton".
        queue: How many requests may wait; for "triton".
        overwrite: Whether to replace an earlier deployment of that name.

    Returns:
        The folder or the file.

    Raises:
        FileExistsError: If the path exists.
        FileNotFoundError: If there is no artifact.
        VerificationError: If the artifact was changed since its export.
        ValueError: If an argument is invalid.

    Example:
        >>> deploy("runs/resnet20/export", "models", target="triton")
        PosixPath('models/resnet20')
    """
    _check_options(target, storage_uri, max_batch_size, max_delay, queue)
    folder = Path(artifact)
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    if "onnx" not in manifest["formats"]:
        raise VerificationError(f"Expected an artifact with an ONNX file. Received: {folder}, exported without one")
    name = manifest["name"] if name is None else name
    if not _NAME.fullmatch(name):
        raise ValueError(f"Expected a name of letters, digits, '.', '_' and '-'. Received: name={name!r}")
    if storage_uri is not None:
        service = make_inference_service(name, storage_uri)
        path = Path(out) / f"{service['metadata']['name']}.json"
        with publish(path, overwrite, _is_service) as file:
            write_json(file, service)
        return path
    config = render_triton_config(name, manifest, max_batch_size, max_delay, queue)
    path = Path(out) / name
    with publish(path, overwrite, _is_entry) as entry:
        _write_triton_entry(entry, folder, config, manifest["labels"])
    return path


def _check_options(target: Target, storage_uri: str | None, max_batch_size: int, max_delay: float, queue: int) -> None:
    if target not in TARGETS:
        raise ValueError(f"Expected target to be one of {TARGETS}. Received: target={target!r}")
    if target == "kserve" and storage_uri is None:
        raise ValueError(
            "Expected storage_uri, where the cluster finds the model repository, such as s3://bucket/models. "
            f"Received: {target=}, {storage_uri=}"
        )
    if target != "kserve" and storage_uri is not None:
        raise ValueError(f"Expected storage_uri only for kserve. Received: {target=}, {storage_uri=}")
    for name, value in (("max_batch_size", max_batch_size), ("max_delay", max_delay), ("queue", queue)):
        check_limit(name, value)


def _write_triton_entry(entry: Path, artifact: Path, config: str, labels: Sequence[str] | None) -> None:
    (entry / _VERSION).mkdir(parents=True)
    for part in (artifact / ONNX, *check_onnx_file(artifact / ONNX)):
        shutil.copyfile(part, entry / _VERSION / part.name)
    (entry / _CONFIG).write_text(config, encoding="utf-8")
    if labels:
        # Every line is a label.
        lines = [" ".join(label.splitlines()) for label in labels]
        (entry / _LABELS).write_text("\n".join(lines) + "\n", encoding="utf-8")


def render_triton_config(
    name: str, manifest: Mapping[str, Any], max_batch_size: int, max_delay: float, queue: int
) -> str:
    """Renders a Triton `ModelConfig` in protobuf's text format.

    Args:
        name: The name of the model and of its folder.
        manifest: The contents of artifact.json.
        max_batch_size: How many examples to run at once.
        max_delay: How many seconds a request may wait for others.
        queue: How many requests may wait.
    """
    gates = gates_output(manifest)
    labelled = [output["name"] for output in manifest["outputs"] if manifest["labels"] and output["name"] != gates]
    # If requests may not be merged, the axis of the batch is like any other.
    batches = is_batchable(manifest)
    batching = f"""\
dynamic_batching {{
  max_queue_delay_microseconds: {round(max_delay * 1e6)}
  default_queue_policy {{ max_queue_size: {queue} }}
}}
"""
    return f"""\
name: {_quote(name)}
platform: "onnxruntime_onnx"
max_batch_size: {max_batch_size if batches else 0}
{_render_tensors("input", manifest["inputs"], batches)}
{_render_tensors("output", manifest["outputs"], batches, labelled)}
{batching if batches else ""}"""


def _render_tensors(
    kind: str, declared: Sequence[Mapping[str, Any]], batches: bool, labelled: Sequence[str] = ()
) -> str:
    blocks = []
    for tensor in declared:
        dims = [-1 if n is None else n for n in tensor["shape"][batches:]]
        # Triton needs at least one dimension besides the batch.
        shape = f"dims: {dims}" if dims else "dims: [1]\n  reshape { shape: [] }"
        labels = f"\n  label_filename: {_quote(_LABELS)}" if tensor["name"] in labelled else ""
        data_type = f"TYPE_{DATATYPES[tensor['dtype']]}"
        blocks.append(f"{kind} {{\n  name: {_quote(tensor['name'])}\n  data_type: {data_type}\n  {shape}{labels}\n}}")
    return "\n".join(blocks)


def _quote(value: str) -> str:
    # JSON's escapes for ASCII are among those of protobuf's text format.
    return json.dumps(value)


def make_inference_service(name: str, storage_uri: str) -> dict[str, Any]:
    """Describes a KServe `InferenceService` that runs Triton on a model repository.

    Args:
        name: The model's name, whose form in lower case and with dashes is the service's name.
        storage_uri: The address where the cluster finds the repository.

    Raises:
        ValueError: If the model's name gives no valid name of a service.
    """
    service = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,62}", service):
        raise ValueError(f"Expected a name that begins with a letter, of at most 63 characters. Received: {name!r}")
    model = {
        "modelFormat": {"name": "triton"},
        "protocolVersion": "v2",
        "runtime": "kserve-tritonserver",
        "storageUri": storage_uri,
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": service},
        "spec": {"predictor": {"model": model}},
    }


def _is_entry(folder: Path) -> bool:
    return (folder / _CONFIG).is_file() and holds_only(folder, _CONFIG, _LABELS, f"{_VERSION}/{ONNX}*")


def _is_service(path: Path) -> bool:
    try:
        return bool(read_json(path)["kind"] == "InferenceService")
    except (OSError, ValueError, KeyError, TypeError):
        return False
