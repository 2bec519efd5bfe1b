"""How many worker processes there are, and the shared memory through which they hand over their slices."""

import pickle
import subprocess
import sys
from multiprocessing import current_process

import numpy as np
import pytest

import zoo
from zoo.data.workers.count import count_workers
from zoo.data.workers.ring import Ring


def test_number_of_workers(monkeypatch):
    for given, count in (("0", 0), ("3", 3), (" 12 ", 12)):
        monkeypatch.setenv("KERAS_SKIP_WORKERS", given)
        assert count_workers() == count
    for wrong in ("-1", "two", "1.5"):
        monkeypatch.setenv("KERAS_SKIP_WORKERS", wrong)
        with pytest.raises(ValueError, match=f"Expected KERAS_SKIP_WORKERS to be a whole number.*={wrong}"):
            count_workers()
        with pytest.raises(ValueError, match="KERAS_SKIP_WORKERS"):
            zoo.train("plain_mlp_digits", "no such data")


def test_default_number_of_workers_is_that_of_usable_cores(monkeypatch):
    monkeypatch.delenv("KERAS_SKIP_WORKERS", raising=False)
    monkeypatch.setattr("joblib.cpu_count", lambda: 16)
    assert count_workers() == 16
    monkeypatch.setenv("KERAS_DISTRIBUTION_JOB_ADDRESSES", "a:1,b:1,a:2,a:3")
    for rank, count in (("2", 5), ("1", 16)):
        monkeypatch.setenv("KERAS_DISTRIBUTION_PROCESS_ID", rank)
        assert count_workers() == count
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    monkeypatch.setenv("KERAS_DISTRIBUTION_PROCESS_ID", "0")
    assert count_workers() == 1
    monkeypatch.setitem(current_process()._config, "daemon", True)
    assert count_workers() == 0, "such a process may have no children"


def test_default_number_of_workers_heeds_the_affinity():
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from zoo.data.workers.count import count_workers; print(count_workers())"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"


def test_a_ring_hands_arrays_over_until_it_has_gone_round():
    ring = Ring.create(3, 80)
    other = pickle.loads(pickle.dumps(ring))
    arrays = [np.arange(10.0) + number for number in range(5)]
    found = [other.put(number, array) for number, array in enumerate(arrays[:4])]
    into = np.empty(10)
    for number in (1, 2, 3):
        ring.take(found[number], into)
        np.testing.assert_array_equal(into, arrays[number])
    with pytest.raises(RuntimeError, match="Expected slice 0 in its place"):
        ring.take(found[0], into)
    large = np.zeros(11)
    assert other.put(4, large) is large
    ring.unlink()
    ring.take(other.put(5, arrays[0]), into)
    np.testing.assert_array_equal(into, arrays[0])
    ring.remove()
    with pytest.raises(FileNotFoundError):
        pickle.loads(pickle.dumps(ring)).put(0, into)
