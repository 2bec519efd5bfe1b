"""Whether two callables compute the same thing, with explicit tolerances and every figure kept.

A candidate passes where, on every input, max |candidate - reference| <= atol + rtol * max |reference|, both are finite,
and both decide alike, always or in the share `agreement` of all cases: the same arg-max on the last axis ("argmax"), or
the same side of one half ("threshold"). An example whose decision in the reference hangs on less than the tolerance is
a tie: counted, and left out of the agreement. What has several inputs or outputs takes or gives them by name, and
passes where every output does. Nothing here knows of a format.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .errors import ParityError

# One array, or several by name.
Arrays = np.ndarray | Mapping[str, np.ndarray]
Compute = Callable[[Any], Arrays]


@dataclass(frozen=True)
class Parity:
    """The measured agreement of one pair.

    Attributes:
        reference: Name of the reference.
        candidate: Name of what was compared with it.
        max_abs_diff: Largest absolute difference of all outputs on all inputs.
        max_rel_diff: Largest, over the inputs, of the absolute difference relative to max |reference|.
        argmax_agreement: Share of decisions, ties left out, that are equal; None where nothing is decided.
        decisions: How many decisions were compared.
        ties: How many were left out.
        examples: Number of examples.
        batch_sizes: The different batch sizes.
        inputs: Names of the inputs.
        atol: Absolute tolerance.
        rtol: Tolerance relative to max |reference|.
        agreement: The share of decisions that had to be equal.
    """

    reference: str
    candidate: str
    max_abs_diff: float
    max_rel_diff: float
    argmax_agreement: float | None
    decisions: int
    ties: int
    examples: int
    batch_sizes: tuple[int, ...]
    inputs: tuple[str, ...]
    atol: float
    rtol: float
    agreement: float = 1.0

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
    decision: str | None | Mapping[str, str | None] = "argmax",
    agreement: float = 1.0,
    names: tuple[str, str] = ("reference", "candidate"),
) -> Parity:
    """Runs two callables on the same inputs and compares what they give.

    Args:
        reference: The callable to agree with, or what it gave for each input, by the input's name.
        candidate: The callable to judge, or what it gave.
        inputs: Batches by name, each an array or several by name; the first axis counts examples.
        atol: Absolute tolerance.
        rtol: Tolerance relative to max |reference|.
        decision: "argmax", "threshold" (sigmoids) or None; or that for each output by name, None where it is not named.
        agreement: The share of decisions that must be equal.
        names: What to call the two in the record and in errors.

    Returns:
        The record of a pair that agrees.

    Raises:
        ParityError: If they disagree; the message names the pair, the input and the measured difference.
        ValueError: If there is nothing to compare or an argument is not usable.

    Example:
        >>> compare(np.tanh, lambda x: np.sinh(x) / np.cosh(x), {"ramp": ramp}, atol=1e-6).max_abs_diff
        5.9604645e-08
    """
    kinds = decision.values() if isinstance(decision, Mapping) else [decision]
    if not set(kinds) <= {"argmax", "threshold", None}:
        raise ValueError(f'Expected decision to be "argmax", "threshold" or None. Received: decision={decision!r}')
    counts = {name: _examples(x) for name, x in inputs.items()}
    if not inputs or not all(counts.values()):
        raise ValueError(f"Expected at least one input, none of them empty. Received: {_shapes(inputs)}")
    measures = []
    for name, x in inputs.items():
        expected, received = (
            _by_name(side[name] if isinstance(side, Mapping) else side(x)) for side in (reference, candidate)
        )
        where = f"{names[1]} against {names[0]} on {name}"
        if expected.keys() != received.keys():
            raise ParityError(f"Expected {where} to give {sorted(expected)}. Received: {sorted(received)}")
        for output, values in expected.items():
            at = f"{where}, output {output}" if len(expected) > 1 else where
            kind = decision.get(output) if isinstance(decision, Mapping) else decision
            measures.append(_measure(values, received[output], at, (atol, rtol), kind))
    decisions, agreed = sum(m.decisions for m in measures), sum(m.agreed for m in measures)
    if agreed < agreement * decisions:
        share = "" if agreement == 1 else f" in {agreement:.0%} of cases"
        raise ParityError(
            f"Expected {names[1]} against {names[0]} to decide alike{share}. "
            f"Received: {decisions - agreed} of {decisions} decisions differ"
        )
    return Parity(
        *names,
        max_abs_diff=max(m.max_abs_diff for m in measures),
        max_rel_diff=max(m.max_rel_diff for m in measures),
        argmax_agreement=agreed / decisions if decisions else None,
        decisions=decisions,
        ties=sum(m.ties for m in measures),
        examples=sum(counts.values()),
        batch_sizes=tuple(sorted(set(counts.values()))),
        inputs=tuple(inputs),
        atol=atol,
        rtol=rtol,
        agreement=agreement,
    )


@dataclass(frozen=True)
class _Measure:
    max_abs_diff: float
    max_rel_diff: float
    decisions: int
    agreed: int
    ties: int


def _measure(
    expected: np.ndarray, received: np.ndarray, where: str, tolerance: tuple[float, float], decision: str | None
) -> _Measure:
    expected, received = np.asarray(expected), np.asarray(received)
    if expected.shape != received.shape:
        raise ParityError(f"Expected {where} to have the shape {expected.shape}. Received: {received.shape}")
    for kind, values in (("reference", expected), ("candidate", received)):
        if not np.all(np.isfinite(values)):
            count = int(np.sum(~np.isfinite(values)))
            raise ParityError(
                f"Expected {where} to be finite. Received: {count} values of the {kind} are NaN or infinite"
            )
    difference = np.abs(expected.astype("float64") - received.astype("float64"))
    scale, worst = float(np.max(np.abs(expected))), float(np.max(difference))
    allowed = tolerance[0] + tolerance[1] * scale
    if worst > allowed:
        index = tuple(int(i) for i in np.unravel_index(np.argmax(difference), difference.shape))
        raise ParityError(
            f"Expected {where} to differ by at most {allowed:.3g}. "
            f"Received: {worst:.3g} at {index}, {received[index]:.6g} instead of {expected[index]:.6g}"
        )
    relative = worst / scale if scale else worst
    return _Measure(worst, relative, *_decisions(expected, received, allowed, decision))


def _decisions(
    expected: np.ndarray, received: np.ndarray, tolerance: float, decision: str | None
) -> tuple[int, int, int]:
    """Counts the decisions that were compared, those that agree, and the ties."""
    if decision is None or (decision == "argmax" and expected.shape[-1] < 2):
        return 0, 0, 0
    if decision == "threshold":
        clear = np.abs(expected - 0.5) > tolerance
        same = (expected > 0.5) == (received > 0.5)
    else:
        second, first = np.moveaxis(np.sort(expected, axis=-1)[..., -2:], -1, 0)
        clear = first - second > tolerance
        same = np.argmax(expected, axis=-1) == np.argmax(received, axis=-1)
    return int(np.sum(clear)), int(np.sum(clear & same)), int(np.sum(~clear))


def _by_name(arrays: Arrays) -> Mapping[str, np.ndarray]:
    return arrays if isinstance(arrays, Mapping) else {"": arrays}


def _examples(arrays: Arrays) -> int:
    return min(map(len, _by_name(arrays).values()), default=0)


def _shapes(inputs: Mapping[str, Arrays]) -> dict[str, list[tuple[int, ...]]]:
    return {name: [np.shape(x) for x in _by_name(arrays).values()] for name, arrays in inputs.items()}
