"""Describes the inputs of an artifact that records none, so that similar ones can be drawn later.

parity.json then holds "inputs", with the sizes and ranges of inputs but no values, and "allowed", the largest allowed
difference in each channel of each output. Without Keras's answers, the exported forms can only be compared with each
other.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import VerificationError, error_line
from ..model.inputs import RawInput, draw_inputs
from ..storage.arrays import Batch
from ..storage.manifest import PARITY

if TYPE_CHECKING:
    from .reference import Reference

_BATCHES = (1, 2)
NOTHING_RECORDED = "No answers of Keras are recorded, so the exported forms were only compared with each other."


def describe_unrecorded(reference: "Reference", allowed: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Returns the fields of parity.json from which inputs and tolerances can be made."""
    drawn = [batch for name, batch in reference.inputs.items() if name.startswith("random")]
    return {
        "inputs": {raw.name: _describe(raw, [batch[raw.name] for batch in drawn]) for raw in reference.endpoint.inputs},
        "allowed": {name: np.ravel(y).tolist() for name, y in allowed.items()},
    }


def _describe(raw: RawInput, drawn: list[np.ndarray]) -> dict[str, Any]:
    bounds = raw.bounds
    if bounds is None and np.dtype(raw.dtype).kind in "iu":
        bounds = min(int(x.min()) for x in drawn), max(int(x.max()) for x in drawn)
    return {
        "sizes": [list(size) for size in raw.sizes],
        "bounds": None if bounds is None else list(bounds),
        "is_index": raw.is_index,
        "normal": None if raw.normal is None else [np.asarray(value, "float64").tolist() for value in raw.normal],
    }


def draw_unrecorded(
    folder: Path, manifest: Mapping[str, Any], parity: Mapping[str, Any]
) -> tuple[dict[str, Batch], dict[str, np.ndarray]]:
    """Draws inputs as `describe_unrecorded` describes them, and returns them with the allowed differences.

    Raises:
        VerificationError: If parity.json does not describe inputs of the artifact.
    """
    try:
        declared = [RawInput.from_manifest(one, manifest["preprocessing"]) for one in manifest["inputs"]]
        described = [_read(raw, parity["inputs"][raw.name]) for raw in declared]
        allowed = {str(name): np.array(y, "float64") for name, y in parity["allowed"].items()}
        if not all(y.size and np.all(y >= 0) and np.all(y < np.inf) for y in allowed.values()):
            raise ValueError("allowed differences that are not finite numbers of at least 0")
        return draw_inputs(described, _BATCHES, 0), allowed
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise VerificationError(
            f"Expected {folder / PARITY} to describe the inputs, since none are recorded. Received: {error_line(error)}"
        ) from error


def _read(raw: RawInput, about: Mapping[str, Any]) -> RawInput:
    sizes = tuple(tuple(int(n) for n in size) for size in about["sizes"])
    for size in sizes:
        if len(size) != len(raw.shape) - 1 or any(m not in (None, n) for m, n in zip(raw.shape[1:], size, strict=True)):
            raise ValueError(f"the size {size} of {raw.name}")
    known: dict[str, Any] = {"sizes": sizes, "is_index": bool(about["is_index"])}
    if about["bounds"] is not None:
        low, high = about["bounds"]
        known["bounds"] = int(low), int(high)
    if about["normal"] is not None:
        mean, std = about["normal"]
        known["normal"] = np.array(mean, "float64"), np.array(std, "float64")
    return RawInput(raw.name, raw.shape, raw.dtype, raw.preprocessing, **known)
