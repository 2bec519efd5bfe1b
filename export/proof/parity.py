"""Compares the results of two callables with explicit tolerances, and keeps every figure.

A candidate passes if, at every element of every output,

    |candidate - reference| <= atol + rtol * range + floor

The range is the reference's largest minus smallest value over all inputs, in the element's channel, which is its index
on the last axis. So a small score next to a large box is held to its own scale, and a large value that all examples
share excuses nothing. The caller's floor allows for rounding, by output and channel. Integers, booleans, types and
shapes must be equal. An infinity equals only the same infinity, and NaN equals NaN. Answers that are all NaN prove
nothing and are refused. The caller may also limit the root mean square of the differences of an output on one input.

Both sides must also decide alike, always or in the share `agreement` of all cases: the same arg-max on the last axis
("argmax"), or the same side of one half ("threshold") or of zero ("sign"). A decision whose margin is smaller than the
allowed difference is a tie, which is counted but not compared. If all decisions are ties, the agreement is None.
Callables with several inputs or outputs take or give them by name, and pass if every output does. Nothing here depends
on a file format.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..errors import ParityError
from ..storage.arrays import Batch
from .channels import largest_value, measure_ranges, spread_over_channels
from .measures import Decision, Measure, Rule, measure_output

# One array, or several by name.
Arrays = np.ndarray | Mapping[str, np.ndarray]
Compute = Callable[[Any], Arrays]
DECISIONS = ("argmax", "threshold", "sign", None)


@dataclass(frozen=True)
class Parity:
    """The measured agreement of one pair.

    Attributes:
        reference: Name of the reference.
        candidate: Name of the candidate.
        max_abs_diff: Largest absolute difference of all outputs on all inputs.
        max_rel_diff: Largest, over the outputs, of the absolute difference relative to max |reference|.
        rms_diff: Largest root mean square of the differences on one input, by the output's name.
        share: Largest difference as a share of the allowed difference at its element, at most 1.
        argmax_agreement: Share of the decisions, without ties, that are equal; None if there are no decisions.
        decisions: How many decisions were compared.
        ties: How many were left out.
        examples: Number of examples.
        batch_sizes: The different batch sizes.
        inputs: Names of the inputs.
        atol: Absolute tolerance.
        rtol: Tolerance relative to the range of each channel.
        agreement: The share of decisions that had to be equal.
        rms: The allowed root mean square of the differences, by the output's name; None if it was not limited.
    """

    reference: str
    candidate: str
    max_abs_diff: float
    max_rel_diff: float
    rms_diff: dict[str, float]
    share: float
    argmax_agreement: float | None
    decisions: int
    ties: int
    examples: int
    batch_sizes: tuple[int, ...]
    inputs: tuple[str, ...]
    atol: float
    rtol: float
    agreement: float = 1.0
    rms: dict[str, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields, ready for JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


def compare(
    reference: Compute | Mapping[str, Arrays],
    candidate: Compute | Mapping[str, Arrays],
    inputs: Mapping[str, Arrays],
    *,
    atol: float,
    rtol: float = 0.0,
    floor: Mapping[str, np.ndarray] | None = None,
    unsettled: Mapping[str, Mapping[str, np.ndarray]] | None = None,
    decision: Decision | Mapping[str, Decision] = "argmax",
    agreement: float = 1.0,
    rms: Mapping[str, float] | None = None,
    names: tuple[str, str] = ("reference", "candidate"),
) -> Parity:
    """Runs two callables on the same inputs and compares their answers.

    Args:
        reference: The callable to agree with, or its answers by the name of the input.
        candidate: The callable to judge, or its answers.
        inputs: Batches by name, each an array or several by name; the first axis counts examples.
        atol: Absolute tolerance.
        rtol: Tolerance relative to the range of the reference in each channel.
        floor: The difference that is allowed in addition, by the output's name: a number for each channel, or one for
            all of them.
        unsettled: Masks by input and output of the integers and booleans that depend on rounding, which count as
            ties.
        decision: "argmax", "threshold" (for sigmoids), "sign" (for logits of sigmoids) or None; or one of these for
            each output by name, with None for the others.
        agreement: The share of decisions that must be equal.
        rms: The largest root-mean-square difference allowed for each output on any one input. Default: no limit.
        names: The names of the two in the record and in error messages.

    Returns:
        The record of a pair that agrees.

    Raises:
        ParityError: If they disagree; the message names the pair, the input and the measured difference.
        ValueError: If there is nothing to compare, or an argument is invalid.

    Example:
        >>> compare(np.tanh, lambda x: np.sinh(x) / np.cosh(x), {"ramp": ramp}, atol=1e-6).max_abs_diff
        5.9604645e-08
    """
    counts = _check_arguments(inputs, decision)
    expected, received = (_compute_answers(side, inputs) for side in (reference, candidate))
    pair = f"{names[1]} against {names[0]}"
    _check_answers(expected, received, pair, names[0])
    measures: list[Measure] = []
    rms_diff: dict[str, float] = {}
    for output in next(iter(expected.values())):
        answers = [batch[output] for batch in expected.values()]
        ranges = measure_ranges(answers)
        rule = Rule(
            allowed=atol + rtol * ranges + spread_over_channels((floor or {}).get(output, 0.0), len(ranges)),
            scale=largest_value(answers),
            decision=decision.get(output) if isinstance(decision, Mapping) else decision,
            rms=(rms or {}).get(output, np.inf),
        )
        of_output = []
        for name in inputs:
            where = f"{pair} on {name}" + (f", output {output}" if len(expected[name]) > 1 else "")
            ties = (unsettled or {}).get(name, {}).get(output)
            of_output.append(measure_output(expected[name][output], received[name][output], where, rule, ties))
        measures += of_output
        rms_diff[output] = max(m.rms_diff for m in of_output)
    decisions, agreed = sum(m.decisions for m in measures), sum(m.agreed for m in measures)
    _check_agreement(decisions, agreed, agreement, pair)
    return Parity(
        *names,
        max_abs_diff=max(m.max_abs_diff for m in measures),
        max_rel_diff=max(m.max_rel_diff for m in measures),
        rms_diff=rms_diff,
        share=max(m.share for m in measures),
        argmax_agreement=agreed / decisions if decisions else None,
        decisions=decisions,
        ties=sum(m.ties for m in measures),
        examples=sum(counts),
        batch_sizes=tuple(sorted(set(counts))),
        inputs=tuple(inputs),
        atol=atol,
        rtol=rtol,
        agreement=agreement,
        rms=None if rms is None else dict(rms),
    )


def _check_arguments(inputs: Mapping[str, Arrays], decision: Decision | Mapping[str, Decision]) -> list[int]:
    """Returns how many examples each input has, or raises a ValueError if there is nothing to compare."""
    kinds = set(decision.values()) if isinstance(decision, Mapping) else {decision}
    if not kinds <= set(DECISIONS):
        raise ValueError(f"Expected decision to be one of {DECISIONS}. Received: decision={decision!r}")
    counts = [min(map(len, _name_arrays(x).values()), default=0) for x in inputs.values()]
    if not counts or not all(counts):
        shapes = {name: [np.shape(x) for x in _name_arrays(arrays).values()] for name, arrays in inputs.items()}
        raise ValueError(f"Expected at least one input, and no empty ones. Received: inputs of the shapes {shapes}")
    return counts


def _check_answers(expected: Mapping[str, Batch], received: Mapping[str, Batch], pair: str, reference: str) -> None:
    """Raises a ParityError unless both sides give the same outputs, and the reference gives numbers."""
    for name in expected:
        one, other = sorted(expected[name]), sorted(received[name])
        if one != other:
            raise ParityError(f"Expected {pair} on {name} to give {one}. Received: {other}")
    for output in next(iter(expected.values())):
        answers = [batch[output] for batch in expected.values()]
        if all(y.dtype.kind == "f" and np.isnan(y).all() for y in answers):
            which = f" for {output}" if output else ""
            raise ParityError(f"Expected {reference} to give numbers{which}. Received: only NaN")


def _check_agreement(decisions: int, agreed: int, agreement: float, pair: str) -> None:
    if agreed < agreement * decisions:
        share = "" if agreement == 1 else f" in {agreement:.0%} of cases"
        raise ParityError(
            f"Expected {pair} to decide alike{share}. Received: {decisions - agreed} of {decisions} decisions differ"
        )


def _compute_answers(side: Compute | Mapping[str, Arrays], inputs: Mapping[str, Arrays]) -> dict[str, Batch]:
    """Returns the answers of one side to each input, by the name of the output."""
    given = {name: side[name] if isinstance(side, Mapping) else side(x) for name, x in inputs.items()}
    return {name: {key: np.asarray(y) for key, y in _name_arrays(arrays).items()} for name, arrays in given.items()}


def _name_arrays(arrays: Arrays) -> Mapping[str, np.ndarray]:
    return arrays if isinstance(arrays, Mapping) else {"": arrays}
