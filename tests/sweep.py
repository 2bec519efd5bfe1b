"""Sweeps over many equal cases: `make test` takes those that differ in kind, `make test-all` takes every one."""

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from typing import Any

import pytest


def sweep(cases: Iterable[Any], in_short: Callable[[Any], bool] | Collection[Any]) -> list[Any]:
    """Parameters of a test; the cases that are not `in_short`, which some must be, have the marker "complete"."""
    cases = list(cases)
    is_in_short = in_short if callable(in_short) else in_short.__contains__
    if not any(map(is_in_short, cases)):
        raise ValueError(f"Expected at least one case that make test takes. Received: {cases}")
    return [case if is_in_short(case) else pytest.param(case, marks=pytest.mark.complete) for case in cases]


def first_of_each_kind(cases: Iterable[Any], kind: Callable[[Any], Any], key: Callable[[Any], Any]) -> set[Any]:
    """Of each kind the case with the smallest key."""
    found: dict[Any, Any] = {}
    for case in sorted(cases, key=key, reverse=True):
        found[kind(case)] = case
    return set(found.values())


def cover(cases: Iterable[Sequence[Hashable]]) -> list[bool]:
    """Marks a few cases in which every value occurs: first those with the most new values, or else with the rarest."""
    cases = list(cases)
    taken, uses = [False] * len(cases), Counter[Hashable]()
    new = [set(case) for case in cases]
    while any(new):
        place = max(range(len(cases)), key=lambda place: (len(new[place]), -sum(uses[value] for value in cases[place])))
        taken[place] = True
        uses.update(cases[place])
        new = [values - uses.keys() for values in new]
    return taken
