"""Opens a target of an artifact in this process, for predictions."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ExportError, error_line
from ..model.inputs import count_examples
from ..storage.arrays import Batch
from ..storage.manifest import check_file
from . import TARGETS
from .proving import ONE, run_in_parts
from .target import Compute


def open_target(folder: Path, manifest: Mapping[str, Any], name: str) -> Compute:
    """Opens a target of an artifact.

    Args:
        folder: The artifact.
        manifest: The contents of artifact.json.
        name: The target.

    Returns:
        A function from a batch to the outputs.

    Raises:
        ValueError: If the artifact does not have the target, or the target cannot run in Python.
        VerificationError: If one of its files was changed since the export.
        ExportError: If the runtime is not installed or cannot open the file.
    """
    there = [each for each in manifest.get("targets") or {} if (known := TARGETS.get(each)) and known.open]
    if name not in there:
        raise ValueError(f"Expected target to be one that can be loaded, {there} of {folder}. Received: {name!r}")
    target = TARGETS[name]
    assert target.open is not None
    for file in filter(target.owns, manifest["files"]):
        check_file(folder, manifest, file)
    target.require()
    try:
        compute = target.open(folder / target.file)
    except Exception as error:  # The runtimes have no common base for their errors.
        raise ExportError(f"{target.title} cannot open {folder / target.file}: {error_line(error)}") from error
    lock = threading.Lock()

    def run(batch: Batch) -> Batch:
        # The runtimes keep their answers in the model until these are read.
        with lock:
            return run_alone(batch)

    def run_alone(batch: Batch) -> Batch:
        try:
            if manifest["targets"][name]["batch"] == ONE and count_examples(batch) > 1:
                return run_in_parts(lambda parts: {part: compute(x) for part, x in parts.items()}, {"": batch})[""]
            return compute(batch)
        except Exception as error:
            shapes = ", ".join(str(x.shape) for x in batch.values())
            raise ExportError(f"{target.title} cannot run on shape {shapes}: {error_line(error)}") from error

    return run
