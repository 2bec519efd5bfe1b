"""Sweeps leave to `make test-all` what they should, and no more: a case that is left out by mistake fails nowhere."""

import pytest

from tests.sweep import cover, first_of_each_kind, sweep


def test_cases_that_are_not_in_short_are_left_to_the_complete_tests():
    first, second = sweep(["a", "b"], lambda case: case == "a")
    assert sweep(["a", "b"], {"a"}) == [first, second]
    assert first == "a"
    assert second.values == ("b",) and [mark.name for mark in second.marks] == ["complete"]


def test_a_sweep_without_a_case_in_short_is_refused():
    with pytest.raises(ValueError, match="at least one case"):
        sweep(["a", "b"], lambda case: False)


def test_the_first_of_each_kind_has_the_smallest_key():
    assert first_of_each_kind(["bb", "a", "b", "aa"], kind=lambda case: case[0], key=len) == {"a", "b"}


def test_a_product_is_covered_when_each_value_occurs_and_no_value_occurs_more_than_it_must():
    product = [(rank, place) for rank in range(4) for place in ("last", "first")]
    covered = [case for case, is_needed in zip(product, cover(product), strict=True) if is_needed]
    assert [rank for rank, _ in covered] == [0, 1, 2, 3]
    assert sorted(place for _, place in covered) == ["first", "first", "last", "last"]
    assert cover([("a",), ("b",), ("c",)]) == [True] * 3
