"""Whether two callables compute the same thing, with explicit tolerances and every figure kept.

A candidate passes where, at every element of every output,

    |candidate - reference| <= atol + rtol * range + floor

The range is the reference's largest minus smallest value over all inputs, in the element's channel: its place on the
last axis. So a small score next to a large box is held to its own scale, and a large value that all examples share
excuses nothing. The floor is what the caller allows for rounding, by output and channel. Integers, booleans, types and
shapes must be equal; an infinity equals only the same infinity, and NaN equals NaN. Answers that are all NaN prove
nothing, and are refused.

Both must also decide alike, always or in the share `agreement` of all cases: the same arg-max on the last axis
("argmax"), or the same side of one half ("threshold") or of zero ("sign"). A decision with a smaller margin than the
allowed difference is a tie, which is counted and left out; if all are ties, the agreement is None. Callables with
several inputs or outputs take or give them by name, and pass if every output does. Nothing here depends on a format.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from ..errors import ParityError

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
        share: Largest share that a difference took of what was allowed at its element, at most 1.
        argmax_agreement: Share of the decisions, without ties, that are equal; None if there are no decisions.
        decisions: How many decisions were compared.
        ties: How many were left out.
        examples: Number of examples.
        batch_sizes: The different batch sizes.
        inputs: Names of the inputs.
        atol: Absolute tolerance.
        rtol: Tolerance relative to the range of each channel.
        agreement: The share of decisions that had to be equal.
    """

    reference: str
    candidate: str
    max_abs_diff: float
    max_rel_diff: float
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
        rtol: Tolerance relative to the range of the reference in each channel.
        floor: The difference that is allowed in addition, by the output's name: one number for each channel, or one
            for all of them.
        unsettled: Masks by input and output: where they are true, an integer or boolean depends on rounding, and
            counts as a tie.
        decision: "argmax", "threshold" (sigmoids), "sign" (logits of sigmoids) or None; or one of these for each
            output by name, and None for outputs that are not named.
        agreement: The share of decisions that must be equal.
        names: The names of the two in the record and in error messages.

    Returns:
        The record of a pair that agrees.

    Raises:
        ParityError: If they disagree; the message names the pair, the input and the measured difference.
        ValueError: If there is nothing to compare or an argument is not usable.

    Example:
        >>> compare(np.tanh, lambda x: np.sinh(x) / np.cosh(x), {"ramp": ramp}, atol=1e-6).max_abs_diff
        5.9604645e-08
    """
    kinds = set(decision.values()) if isinstance(decision, Mapping) else {decision}
    if not kinds <= set(DECISIONS):
        raise ValueError(f"Expected decision to be one of {DECISIONS}. Received: decision={decision!r}")
    counts = {name: _count_examples(x) for name, x in inputs.items()}
    if not inputs or not all(counts.values()):
        raise ValueError(f"Expected at least one input, none of them empty. Received: {_shapes(inputs)}")
    expected, received = (_compute_answers(side, inputs) for side in (reference, candidate))
    pair = f"{names[1]} against {names[0]}"
    for name in inputs:
        one, other = sorted(expected[name]), sorted(received[name])
        if one != other:
            raise ParityError(f"Expected {pair} on {name} to give {one}. Received: {other}")
    measures: list[_Measure] = []
    for output in next(iter(expected.values())):
        answers = [batch[output] for batch in expected.values()]
        if all(y.dtype.kind == "f" and np.isnan(y).all() for y in answers):
            which = f" for {output}" if output else ""
            raise ParityError(f"Expected {names[0]} to give numbers{which}. Received: only NaN")
        ranges = measure_ranges(answers)
        rule = _Rule(
            allowed=atol + rtol * ranges + _floor_by_channel((floor or {}).get(output, 0.0), len(ranges)),
            scale=largest_value(answers),
            decision=decision.get(output) if isinstance(decision, Mapping) else decision,
        )
        for name in inputs:
            at = f"{pair} on {name}" + (f", output {output}" if len(expected[name]) > 1 else "")
            ties = (unsettled or {}).get(name, {}).get(output)
            measures.append(_measure(expected[name][output], received[name][output], at, rule, ties))
    decisions, agreed = sum(m.decisions for m in measures), sum(m.agreed for m in measures)
    if agreed < agreement * decisions:
        share = "" if agreement == 1 else f" in {agreement:.0%} of cases"
        raise ParityError(
            f"Expected {pair} to decide alike{share}. Received: {decisions - agreed} of {decisions} decisions differ"
        )
    return Parity(
        *names,
        max_abs_diff=max(m.max_abs_diff for m in measures),
        max_rel_diff=max(m.max_rel_diff for m in measures),
        share=max(m.share for m in measures),
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


def split_channels(values: np.ndarray, channels: int) -> np.ndarray:
    """Values as rows of channels; all of them in one column where there is one channel."""
    return np.reshape(values, (-1, channels))


def count_channels(arrays: Iterable[np.ndarray]) -> int:
    """How many channels arrays of one output have: the size of their last axis, or 1 where that is not the same."""
    sizes = {y.shape[-1] if y.ndim > 1 else 1 for y in arrays}
    return max(sizes.pop(), 1) if len(sizes) == 1 else 1


def measure_ranges(arrays: Iterable[np.ndarray]) -> np.ndarray:
    """Largest minus smallest finite value in each channel, over arrays of one output."""
    arrays = [np.asarray(y) for y in arrays]
    channels = count_channels(arrays)
    rows = np.concatenate([split_channels(y, channels) for y in arrays]).astype("float64")
    finite = np.isfinite(rows)
    largest = np.max(rows, axis=0, where=finite, initial=-np.inf)
    smallest = np.min(rows, axis=0, where=finite, initial=np.inf)
    return np.where(finite.any(axis=0), largest - smallest, 0.0)


def largest_value(arrays: Iterable[np.ndarray]) -> float:
    """The largest finite absolute value of arrays."""
    values = (np.abs(y.astype("float64")) for y in arrays)
    return max(float(np.max(y, where=np.isfinite(y), initial=0.0)) for y in values)


def _floor_by_channel(floor: Any, channels: int) -> np.ndarray:
    """A floor for each channel; if it was measured on other channels, the largest for all of them."""
    floor = np.ravel(np.asarray(floor, "float64"))
    return np.broadcast_to(floor if floor.size in (1, channels) else floor.max(), channels)


class _Measure(NamedTuple):
    max_abs_diff: float
    max_rel_diff: float
    share: float
    decisions: int
    agreed: int
    ties: int


class _Rule(NamedTuple):
    """The rule for one output: how far each channel may differ, the largest value, and the kind of decision."""

    allowed: np.ndarray
    scale: float
    decision: str | None


def _measure(
    expected: np.ndarray, received: np.ndarray, where: str, rule: _Rule, unsettled: np.ndarray | None
) -> _Measure:
    allowed = rule.allowed
    expected, received = np.asarray(expected), np.asarray(received)
    for kind in ("shape", "dtype"):
        one, other = getattr(expected, kind), getattr(received, kind)
        if one != other:
            raise ParityError(f"Expected {where} to have the {kind} {one}. Received: {other}")
    if expected.dtype.kind != "f":
        return _measure_integers(expected, received, where, unsettled)
    wide, narrow = expected.astype("float64"), received.astype("float64")
    unknown = np.isnan(wide)
    if count := int(np.sum(unknown != np.isnan(narrow))):
        raise ParityError(
            f"Expected {where} to be NaN where the reference is. Received: {count} values where only one of them is"
        )
    with np.errstate(invalid="ignore"):
        difference = np.where((wide == narrow) | unknown, 0.0, np.abs(wide - narrow))
    rows = split_channels(difference, len(allowed))
    beyond = np.where(rows > allowed, rows - allowed, 0.0)
    if beyond.any():
        # The error names the element that exceeds its allowed difference by the largest factor.
        with np.errstate(divide="ignore", invalid="ignore"):
            worst = int(np.argmax(np.where(beyond > 0, rows / allowed, 0.0)))
        index = tuple(int(i) for i in np.unravel_index(worst, difference.shape))
        raise ParityError(
            f"Expected {where} to differ by at most {allowed[worst % len(allowed)]:.3g}. "
            f"Received: {difference[index]:.3g} at {index}, {received[index]:.6g} instead of {expected[index]:.6g}"
        )
    worst_difference = float(np.max(difference, initial=0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = float(np.max(np.where(rows > 0, rows / allowed, 0.0), initial=0.0))
    relative = worst_difference / rule.scale if rule.scale else worst_difference
    return _Measure(worst_difference, relative, share, *_count_decisions(expected, received, rule))


def _measure_integers(expected: np.ndarray, received: np.ndarray, where: str, unsettled: np.ndarray | None) -> _Measure:
    """Compares integers and booleans: all must be equal, apart from those that depend on rounding."""
    settled = np.ones(expected.shape, bool) if unsettled is None else ~unsettled
    different = settled & (expected != received)
    if different.any():
        index = tuple(int(i) for i in np.argwhere(different)[0])
        raise ParityError(
            f"Expected {where} to be equal. Received: {int(different.sum())} of {different.size} are not, "
            f"at {index} {received[index]} instead of {expected[index]}"
        )
    return _Measure(0.0, 0.0, 0.0, 0, 0, int(np.sum(~settled)))


def _count_decisions(expected: np.ndarray, received: np.ndarray, rule: _Rule) -> tuple[int, int, int]:
    """Counts the decisions that were compared, those that agree, and the ties."""
    decision, allowed = rule.decision, rule.allowed
    if decision is None or (decision == "argmax" and (expected.ndim == 0 or expected.shape[-1] < 2)):
        return 0, 0, 0
    one, other = split_channels(expected, len(allowed)), split_channels(received, len(allowed))
    if decision == "argmax":
        one, other = expected.reshape(-1, expected.shape[-1]), received.reshape(-1, expected.shape[-1])
        by_size = np.argsort(one, axis=-1)
        first, second = by_size[:, -1], by_size[:, -2]
        rows, limits = np.arange(len(one)), np.broadcast_to(allowed, one.shape[-1])
        # Each of the two may be off by the difference that is allowed to it.
        clear = one[rows, first] - one[rows, second] > np.maximum(limits[first], limits[second])
        same = first == np.argmax(other, axis=-1)
    else:
        border = 0.5 if decision == "threshold" else 0.0
        clear = np.abs(one - border) > allowed
        same = (one > border) == (other > border)
    return int(np.sum(clear)), int(np.sum(clear & same)), int(np.sum(~clear))


def _compute_answers(
    side: Compute | Mapping[str, Arrays], inputs: Mapping[str, Arrays]
) -> dict[str, dict[str, np.ndarray]]:
    """The answers of one side to each input, by the name of the output."""
    given = {name: side[name] if isinstance(side, Mapping) else side(x) for name, x in inputs.items()}
    return {name: {key: np.asarray(y) for key, y in _name_arrays(arrays).items()} for name, arrays in given.items()}


def _name_arrays(arrays: Arrays) -> Mapping[str, np.ndarray]:
    return arrays if isinstance(arrays, Mapping) else {"": arrays}


def _count_examples(arrays: Arrays) -> int:
    return min(map(len, _name_arrays(arrays).values()), default=0)


def _shapes(inputs: Mapping[str, Arrays]) -> dict[str, list[tuple[int, ...]]]:
    return {name: [np.shape(x) for x in _name_arrays(arrays).values()] for name, arrays in inputs.items()}
