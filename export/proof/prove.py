"""Compares every exported form of a model with Keras."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ParityError
from ..model.backends import TENSORFLOW, backend, name_reference
from ..model.endpoint import Endpoint
from ..model.inputs import count_examples
from ..precision.tolerances import FP32, TOLERANCES, Precision
from ..runtime.processes import FORMS, OPTIMISED, PLAIN, SIMULATED, Form, run_everywhere, run_forms
from ..runtime.providers import Device
from ..storage.arrays import Batch, write_batches
from ..storage.schema import PROBABILITIES, Activation
from .first_difference import find_difference_from_keras, find_difference_from_plain
from .logits import match_layout, run_to_logits
from .measures import Decision
from .parity import Parity, compare
from .recording import ALLOWED, INPUT, OUTPUT, UNSETTLED, Record, choose_decision
from .reference import BEFORE, Reference
from .unrecorded import describe_unrecorded

_RECORDED_BYTES = 16 * 2**20
# Later verifications of a quantised file allow the measured differences times this factor, plus these additions.
_ROOM, _MORE, _MORE_RMS = 1.5, 0.01, 0.001
# A function that runs a batch, or its answers to each input by name.
Candidate = Callable[[Batch], Batch] | Mapping[str, Batch]
# Logits decide by these rules, by their activation.
_LOGITS: dict[Activation | None, Decision] = {"softmax": "argmax", "sigmoid": "sign", None: None}


def prove(
    reference: Reference,
    *,
    saved_model: Callable[[Batch], Batch] | None = None,
    onnx: Path | None = None,
    simulated: Path | None = None,
    precision: Precision = FP32,
    device: Device | None = None,
    locate: bool = True,
) -> dict[str, Any]:
    """Compares the exported forms of a model with Keras.

    Args:
        reference: Keras's answers.
        saved_model: Runs a SavedModel on a batch.
        onnx: An ONNX file.
        simulated: An ONNX file that rounds as a GPU does in fp16.
        precision: The precision whose tolerances hold.
        device: As in `run_everywhere`.
        locate: Whether the error message names the first tensor that differs.

    Returns:
        The contents of parity.json: the comparisons, their worst figures, the tolerance and the weak outputs.

    Raises:
        ParityError: If a form differs; the message names the pair and the input.
    """
    candidates: dict[str, Candidate] = {}
    absent: dict[str, str] = {}
    if saved_model is not None:
        candidates["SavedModel"] = saved_model
    if onnx is not None:
        answers, absent = run_everywhere(onnx, reference.inputs, device)
        candidates |= answers
    if simulated is not None:
        candidates |= run_forms(simulated, reference.inputs, (SIMULATED,))
    judge = _Judge(reference, precision)
    records, weak = [], reference.find_weak()
    for name, candidate in candidates.items():
        try:
            records.append(judge.compare_outputs(name, candidate, reference.inputs))
        except ParityError as error:
            if name not in FORMS or not locate:
                raise
            assert onnx is not None and isinstance(candidate, Mapping)
            where = _locate_difference(judge, onnx, candidate, FORMS[name])
            raise ParityError(f"{error}. {where}".removesuffix(". ")) from error
    for file, form in ((onnx, OPTIMISED), (simulated, SIMULATED)):
        if file is not None and judge.logits:
            record = judge.compare_logits(file, form)
            records += [record] if record is not None else []
            hidden = [name for name in judge.logits if record is None or name not in record.rms_diff]
            weak = dict.fromkeys(hidden, "The graph does not show the input of its activation.") | weak
    if onnx is None:
        weak = judge.find_hidden() | weak
    own = {"atol": reference.atol, "rtol": reference.rtol}
    tolerance = asdict(TOLERANCES[precision]) | {name: value for name, value in own.items() if value is not None}
    proof = summarise(records, absent, name_reference()) | {"tolerance": tolerance, "weak": weak}
    if reference.larger is None:
        return proof
    again = prove(
        reference.larger, saved_model=saved_model, onnx=onnx, simulated=simulated, precision=precision, device=device,
        locate=locate,
    )  # fmt: skip
    return _join(proof, again, "larger inputs")


def compare_with_keras(
    reference: Reference, name: str, run: Callable[[Mapping[str, Batch]], Mapping[str, Batch]]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Compares the outputs of one form with Keras, on the larger inputs too if there are any.

    Args:
        reference: Keras's answers.
        name: The name of the form.
        run: Computes the outputs of batches by name.

    Returns:
        The comparisons, as `summarise` joins them, and the outputs about which they say little, with the reason.

    Raises:
        ParityError: If the form differs.
    """
    records: list[Parity] = []
    weak: dict[str, str] = {}
    for part in filter(None, (reference, reference.larger)):
        judge = _Judge(part, FP32)
        records.append(judge.compare_outputs(name, run(part.inputs), part.inputs))
        weak = (
            judge.find_hidden()
            if part is reference
            else {k: why for k, why in weak.items() if k in judge.find_hidden()}
        )
    return summarise(records, {}, name_reference()), weak


def strengthen_proof(
    reference: Reference, proof: dict[str, Any], write: Callable[[Endpoint, Path], None], folder: Path
) -> dict[str, Any]:
    """Extends a weak proof: converts the same network with larger weights, so that inputs move more of its outputs.

    Args:
        reference: Keras's answers.
        proof: The result of `prove`.
        write: Writes an endpoint as an ONNX file.
        folder: A folder for temporary files.

    Returns:
        The proof, with the comparisons of the larger network if there are any.

    Raises:
        ParityError: If the larger network is not converted correctly.
    """
    if not proof["weak"] or (other := reference.scale_weights()) is None:
        return proof
    with tempfile.TemporaryDirectory(prefix=".keras-skip-", dir=folder) as beside:
        file = Path(beside) / "model.onnx"
        write(other.endpoint, file)
        again = prove(other, onnx=file, device="cpu", locate=False)
    return _join(proof, again, f"weights {other.endpoint.weight_scale} times as large")


def _join(proof: dict[str, Any], again: dict[str, Any], suffix: str) -> dict[str, Any]:
    """Adds the comparisons of another proof; an output is weak if it is weak in both."""
    compared = [
        {**pair, "candidate": f"{pair['candidate']}, {suffix}"}
        for pair in again["comparisons"]
        if pair["status"] == "compared"
    ]
    still = {name: why for name, why in proof["weak"].items() if name in again["weak"]}
    return proof | {"comparisons": [*proof["comparisons"], *compared], "weak": still}


class _Judge:
    """Compares answers with a reference by the tolerances of a precision."""

    def __init__(self, reference: Reference, precision: Precision) -> None:
        self.reference = reference
        self.activation = reference.endpoint.activation
        self.agreement = TOLERANCES[precision].agreement
        self.allowed = reference.allowed(precision)
        self.logits = [name.removesuffix(BEFORE) for name in self.allowed if BEFORE in name]
        self.expected = reference.expected

    def compare_outputs(self, name: str, candidate: Candidate, inputs: Mapping[str, Batch]) -> Parity:
        """Compares outputs on some or all inputs."""
        gates = self.reference.endpoint.gates
        return compare(
            {key: self.expected[key] for key in inputs},
            candidate,
            inputs,
            atol=0.0,
            floor=self.allowed,
            unsettled=self.reference.noise().unsettled,
            decision=choose_decision(self.activation, gates.output if gates else None),
            agreement=self.agreement,
            names=(name_reference(), name),
        )

    def find_hidden(self) -> dict[str, str]:
        """Finds outputs that move less than the allowed difference, if their logits are not compared."""
        return {
            name: "Its activation saturates, and its logits are not compared."
            for name in self.logits
            if not (self.reference.ranges(name) > self.allowed[name]).any()
        }

    def compare_logits(self, file: Path, form: Form) -> Parity | None:
        """Compares the logits if an ONNX file shows them."""
        expected = self.reference.logits
        received = run_to_logits(file, self.logits, self.reference.inputs, form)
        if received is None:
            return None
        expected = {name: {key: expected[name][key] for key in batch} for name, batch in received.items()}
        return compare(
            expected,
            {n: {key: match_layout(y, expected[n][key]) for key, y in batch.items()} for n, batch in received.items()},
            self.reference.inputs,
            atol=0.0,
            floor={key: self.allowed[key + BEFORE] for key in self.logits},
            decision={PROBABILITIES: _LOGITS[self.activation]},
            agreement=self.agreement,
            names=(name_reference(), f"{form.name}{BEFORE}"),
        )


def measure_difference(reference: Reference, model: Path, device: Device | None) -> dict[str, Any]:
    """Compares an ONNX file with Keras, and takes the measured differences with some room as the tolerance.

    The largest difference of a quantised file can be close to 1, and as a limit on probabilities that excludes nothing.
    The root mean square is far smaller, and grows if another processor computes the file differently.
    """
    answers, absent = run_everywhere(model, reference.inputs, device)
    expected, gates = reference.expected, reference.endpoint.gates
    rule = {"decision": choose_decision(reference.endpoint.activation, gates.output if gates else None)}

    def compare_all(**tolerance: Any) -> list[Parity]:
        given = rule | {"agreement": 0.0} | tolerance
        return [
            compare(expected, y, reference.inputs, names=(name_reference(), n), **given) for n, y in answers.items()
        ]

    measured = compare_all(atol=np.inf)
    if not all(np.isfinite(record.max_abs_diff) for record in measured):
        raise ParityError(f"Expected {model.name}, quantised, to give infinity only where Keras does. Received: others")
    records = compare_all(
        atol=_ROOM * max(record.max_abs_diff for record in measured) + _MORE,
        rms={name: _ROOM * max(r.rms_diff[name] for r in measured) + _MORE_RMS for name in measured[0].rms_diff},
    )
    return summarise(records, absent, name_reference())


def summarise(comparisons: list[Parity], absent: Mapping[str, str], reference: str) -> dict[str, Any]:
    """Joins comparisons with their worst figures and with the forms that are not available."""
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


def join_proofs(proof: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Adds the comparisons of another form, as `summarise` joins them, to the contents of parity.json."""
    agreements = [part["argmax_agreement"] for part in (proof, more) if part["argmax_agreement"] is not None]
    return {
        **proof,
        "max_abs_diff": max(proof["max_abs_diff"], more["max_abs_diff"]),
        "max_rel_diff": max(proof["max_rel_diff"], more["max_rel_diff"]),
        "argmax_agreement": min(agreements, default=None),
        "comparisons": [*proof["comparisons"], *more["comparisons"]],
    }


def _locate_difference(judge: _Judge, model: Path, candidate: Mapping[str, Batch], form: Form) -> str:
    """Names the first tensor of an ONNX file that differs from Keras, on the first input that shows it."""
    for name, batch in judge.reference.inputs.items():
        try:
            judge.compare_outputs(form.name, {name: candidate[name]}, {name: batch})
        except ParityError:
            # The form without optimisation is compared first, so it has passed if another one fails.
            if form == PLAIN:
                if backend() != TENSORFLOW:
                    # Only TensorFlow's tensors have names that are those of the graph.
                    return ""
                return find_difference_from_keras(judge.reference.endpoint, model, batch)
            return find_difference_from_plain(model, batch, form)
    return ""


def record_samples(
    path: Path, reference: Reference, allowed: Mapping[str, np.ndarray], record: Record
) -> dict[str, Any]:
    """Stores the smallest inputs, Keras's outputs and the allowed differences.

    Args:
        path: The file to write.
        reference: Keras's answers.
        allowed: The allowed difference in each channel of each answer.
        record: "all"; "synthetic", without real inputs; or "none", which writes no file.

    Returns:
        Fields of parity.json: the names of the recorded inputs, or what replaces them.
    """
    allowed = {name: y for name, y in allowed.items() if BEFORE not in name}
    if record == "none":
        return {"record": record, "recorded": [], **describe_unrecorded(reference, allowed)}
    names = [name for name in reference.inputs if record == "all" or not name.startswith("real")]
    recorded: dict[str, Batch] = {}
    size, unsettled = 0, reference.noise().unsettled
    for name in sorted(names, key=lambda name: count_examples(reference.inputs[name])):
        arrays = {f"{INPUT}{key}": x for key, x in reference.inputs[name].items()}
        arrays |= {f"{OUTPUT}{key}": y for key, y in reference.expected[name].items()}
        arrays |= {f"{UNSETTLED}{key}": y for key, y in unsettled.get(name, {}).items()}
        size += sum(array.nbytes for array in arrays.values())
        if recorded and size > _RECORDED_BYTES:
            break
        recorded[name] = arrays
    first = next(iter(recorded.values()))
    first |= {f"{ALLOWED}{key}": y for key, y in allowed.items()}
    write_batches(path, recorded)
    return {"record": record, "recorded": list(recorded)}
