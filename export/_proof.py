"""The comparisons of an export: every form of the model against Keras."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ._arrays import write_batches
from ._bisect import differs_from_keras, differs_from_plain
from ._inputs import Batch, examples
from ._isolated import FORMS, PLAIN, SIMULATED, Form, run_everywhere, run_forms
from ._manifest import ONNX, SAVED_MODEL
from ._served import Served
from .errors import ParityError
from .parity import Parity, compare
from .saved_model import saved_model_runner

_RECORDED_BYTES = 16 * 2**20
# For a precision that is not judged by how near it is: what is allowed later, beyond what was measured.
_ROOM, _MORE = 1.5, 0.01


def prove(
    function: Served,
    folder: Path,
    inputs: Mapping[str, Batch],
    expected: Mapping[str, Batch],
    tolerance: Mapping[str, Any],
    device: str | None,
    simulated: Path | None = None,
    locate: bool = True,
) -> dict[str, Any]:
    """Compares every form in a folder, and a file that computes what a GPU makes of fp16, with Keras.

    Raises:
        ParityError: If one differs; the message names the pair, the input and, on request, the tensor where they part.
    """
    candidates: dict[str, Any] = {}
    absent: dict[str, str] = {}
    if (folder / SAVED_MODEL).is_dir():
        candidates["SavedModel"] = saved_model_runner(folder / SAVED_MODEL)
    if (folder / ONNX).is_file():
        answers, absent = run_everywhere(folder / ONNX, inputs, device)
        candidates |= answers
    if simulated is not None:
        candidates |= run_forms(simulated, inputs, (SIMULATED,))
    records = []
    for name, candidate in candidates.items():
        try:
            records.append(compare(expected, candidate, inputs, names=("Keras", name), **tolerance))
        except ParityError as error:
            if name not in FORMS or not locate:
                raise
            where = _where(function, folder / ONNX, inputs, expected, candidate, tolerance, FORMS[name])
            raise ParityError(f"{error}. {where}") from error
    return summarise(records, absent, "Keras")


def measure(
    model: Path,
    inputs: Mapping[str, Batch],
    expected: Mapping[str, Batch],
    decision: str | None | Mapping[str, str | None],
    device: str | None,
) -> dict[str, Any]:
    """Compares an ONNX file with Keras; how far they are apart, with some room, becomes the tolerance."""
    answers, absent = run_everywhere(model, inputs, device)
    worst = max(
        float(np.max(np.abs(y - expected[name][output])))
        for outputs in answers.values()
        for name, batch in outputs.items()
        for output, y in batch.items()
    )
    tolerance: dict[str, Any] = {"atol": _ROOM * worst + _MORE, "rtol": 0.0, "agreement": 0.0, "decision": decision}
    records = [
        compare(expected, outputs, inputs, names=("Keras", name), **tolerance) for name, outputs in answers.items()
    ]
    return summarise(records, absent, "Keras")


def summarise(comparisons: list[Parity], absent: Mapping[str, str], reference: str) -> dict[str, Any]:
    """Puts records together with the worst of their figures, and names what could not be compared."""
    agreements = [c.argmax_agreement for c in comparisons if c.argmax_agreement is not None]
    return {
        "max_abs_diff": max(c.max_abs_diff for c in comparisons),
        "max_rel_diff": max(c.max_rel_diff for c in comparisons),
        "argmax_agreement": min(agreements, default=None),
        "comparisons": [
            *({"status": "compared", **c.to_dict()} for c in comparisons),
            *(
                {"status": "not available", "reference": reference, "candidate": c, "reason": r}
                for c, r in absent.items()
            ),
        ],
    }


def _where(
    function: Served,
    model: Path,
    inputs: Mapping[str, Batch],
    expected: Mapping[str, Batch],
    candidate: Mapping[str, Batch],
    tolerance: Mapping[str, Any],
    form: Form,
) -> str:
    """Names the tensor at which an ONNX file parts from Keras, on the first input where it does."""
    for name, batch in inputs.items():
        try:
            compare({name: expected[name]}, {name: candidate[name]}, {name: batch}, **tolerance)
        except ParityError:
            # The form without optimisation is judged first: where another one fails, that one has passed.
            return (
                differs_from_keras(function, model, batch) if form == PLAIN else differs_from_plain(model, batch, form)
            )
    return ""


def record(path: Path, inputs: Mapping[str, Batch], expected: Mapping[str, Batch]) -> list[str]:
    """Stores the smallest inputs and Keras's outputs, at least one of them; returns their names."""
    recorded: dict[str, Batch] = {}
    size = 0
    for name in sorted(inputs, key=lambda name: examples(inputs[name])):
        arrays = {f"input/{key}": x for key, x in inputs[name].items()}
        arrays |= {f"output/{key}": y for key, y in expected[name].items()}
        size += sum(array.nbytes for array in arrays.values())
        if recorded and size > _RECORDED_BYTES:
            break
        recorded[name] = arrays
    write_batches(path, recorded)
    return list(recorded)


def precision_change(trained: Served, inputs: Mapping[str, Batch], expected: Mapping[str, Batch]) -> dict[str, Any]:
    """How far float32 moves the outputs from those of the half precision the model was trained in. Told, not judged."""
    pairs = [
        (y.astype("float32"), expected[name][output])
        for name, batch in inputs.items()
        for output, y in trained.numpy(batch).items()
        if output in trained.answers
    ]
    agreements = np.concatenate([np.ravel(np.argmax(a, -1) == np.argmax(b, -1)) for a, b in pairs])
    return {
        "trained_precision": trained.trained_precision,
        "max_abs_diff": max(float(np.max(np.abs(a - b))) for a, b in pairs),
        "argmax_agreement": float(np.mean(agreements)),
    }
