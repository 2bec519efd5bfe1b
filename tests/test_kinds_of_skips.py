"""The experiment with kinds of skips in docs/: the gains of streams, and the networks that are compared."""

from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def kinds_of_skips(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "docs")
    import kinds_of_skips

    return kinds_of_skips


def test_gains_are_row_sums_from_the_start_and_column_sums_to_the_end(kinds_of_skips, monkeypatch):
    first, second = np.array([[1.0, 2.0], [0.0, -1.0]]), np.array([[1.0, 0.0], [3.0, 1.0]])

    @contextmanager
    def recorded():
        yield [(None, {"residual": np.array([matrix, matrix, 100 * matrix])}) for matrix in (first, second)]

    monkeypatch.setattr(kinds_of_skips, "recorded_skips", recorded)
    found = list(kinds_of_skips.measure_gains("None", "trained", lambda images: None))
    # The second after the first is [[1, 2], [3, 5]].
    assert [(gain.connection, gain.signal, gain.gradient) for gain in found] == [(1, 3.0, 7.0), (2, 8.0, 4.0)]


@pytest.mark.parametrize("network", ["stack_encoder", "stack_convnet"])
def test_candidates_are_networks_that_a_comparison_can_read(kinds_of_skips, network):
    from zoo.training.comparison import Candidate

    for kind, arguments in kinds_of_skips.KINDS.items():
        found = Candidate.parse(kinds_of_skips.candidate(network, kind))
        assert (found.network, found.arguments) == (network, arguments)
