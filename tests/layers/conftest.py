"""What of the layers' tests `make test` leaves to `make test-all`.

A test with several `parametrize` decorators runs in few combinations, in which each value of each decorator occurs. One
decorator with a list of tuples runs completely: it is for values whose combinations matter.

Tests with the marker "once" run on TensorFlow alone, since JAX compiles each operation for each shape: those of what no
backend computes, such as errors, names and configurations, and long or equal cases of what others test on all backends.
"""

from collections import defaultdict
from pathlib import Path

import keras
import pytest

from tests.sweep import cover

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    tests = defaultdict(list)
    for item in items:
        if HERE in item.path.parents:
            if keras.backend.backend() != "tensorflow" and item.get_closest_marker("once"):
                item.add_marker(pytest.mark.complete)
            elif hasattr(item, "callspec") and not item.get_closest_marker("complete"):
                tests[item.nodeid.partition("[")[0]].append(item)
    for cases in tests.values():
        for item, is_needed in zip(cases, cover(map(_values, cases)), strict=True):
            if not is_needed:
                item.add_marker(pytest.mark.complete)


def _values(item: pytest.Item) -> list[tuple]:
    """The values that each decorator or fixture gives the test; they need not be hashable."""
    params = item.callspec.params
    given = [marker.args[0] for marker in item.iter_markers("parametrize")]
    groups = [[name.strip() for name in each.split(",")] if isinstance(each, str) else list(each) for each in given]
    groups += [[name] for name in params if not any(name in group for group in groups)]
    return [tuple((name, id(params[name])) for name in group) for group in groups]
