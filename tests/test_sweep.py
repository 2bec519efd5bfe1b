"""Sweeps leave to `make test-all` what they should, and no more: a case that is left out by mistake fails nowhere."""

import pytest

from tests.sweep import first_of_each_kind, sweep


def test_cases_that_are_not_in_short_are_left_to_the_complete_tests():
    first, second = sweep(["a", "b"], lambda case: case == "a")
    assert first == "a"
    assert second.values == ("b",) and [mark.name for mark in second.marks] == ["complete"]


def test_a_sweep_without_a_case_in_short_is_refused():
    with pytest.raises(ValueError, match="at least one case"):
        sweep(["a", "b"], lambda case: False)


def test_the_first_of_each_kind_has_the_smallest_key():
    assert first_of_each_kind(["bb", "a", "b", "aa"], kind=lambda case: case[0], key=len) == {"a", "b"}
