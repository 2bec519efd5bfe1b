"""Measures how far one output of a candidate is from the reference's, and refuses one that is too far."""

from typing import Literal, NamedTuple

import numpy as np

from ..errors import ParityError
from .channels import split_channels

Decision = Literal["argmax", "threshold", "sign"] | None


class Measure(NamedTuple):
    """The figures of one output on one input; `share` is the largest share of an allowed difference that was used."""

    max_abs_diff: float
    max_rel_diff: float
    rms_diff: float
    share: float
    decisions: int
    agreed: int
    ties: int


class Rule(NamedTuple):
    """The rule for one output: what is allowed in each channel and as a root mean square, its scale, its decision."""

    allowed: np.ndarray
    scale: float
    decision: Decision
    rms: float


def measure_output(
    expected: np.ndarray, received: np.ndarray, where: str, rule: Rule, unsettled: np.ndarray | None
) -> Measure:
    """Compares an output with the reference's.

    Args:
        expected: The reference's output.
        received: The candidate's output.
        where: The pair, the input and the output, for error messages.
        rule: The rule for the output.
        unsettled: A mask of the integers and booleans that depend on rounding.

    Raises:
        ParityError: If they differ by more than is allowed.
    """
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
            f"Expected {where} to be NaN where the reference is. Received: {count} values that are NaN on one side only"
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
    with np.errstate(invalid="ignore"):
        rms = float(np.sqrt(np.mean(np.square(difference)))) if difference.size else 0.0
    if rms > rule.rms:
        raise ParityError(
            f"Expected the root-mean-square difference of {where} to be at most {rule.rms:.3g}. Received: {rms:.3g}"
        )
    return Measure(worst_difference, relative, rms, share, *_count_decisions(expected, received, rule))


def _measure_integers(expected: np.ndarray, received: np.ndarray, where: str, unsettled: np.ndarray | None) -> Measure:
    """Compares integers and booleans, which must be equal unless they depend on rounding."""
    settled = np.ones(expected.shape, bool) if unsettled is None else ~unsettled
    different = settled & (expected != received)
    if different.any():
        index = tuple(int(i) for i in np.argwhere(different)[0])
        raise ParityError(
            f"Expected {where} to be equal. Received: {int(different.sum())} of {different.size} values differ, "
            f"at {index} {received[index]} instead of {expected[index]}"
        )
    return Measure(0.0, 0.0, 0.0, 0.0, 0, 0, int(np.sum(~settled)))


def _count_decisions(expected: np.ndarray, received: np.ndarray, rule: Rule) -> tuple[int, int, int]:
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
