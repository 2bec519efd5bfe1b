"""One training on several devices, and on several processes, in processes of their own: virtual devices of this CPU."""

import functools
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("several.py")
# The last of three batches has 5 examples.
EXAMPLES, BATCH = 133, 64
# Sums in another order differ in the last bits of float32, about 1e-7 a step. Batches in a wrong order, or a mean of
# means over parts of different size, give differences above 1e-2.
TOLERANCE = 1e-5


def start(backend, out, devices=1, then="end", network="highway_mlp", **variables):
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT), "XLA_FLAGS": ""}
    variables = os.environ | quiet | {"KERAS_BACKEND": backend, "JAX_NUM_CPU_DEVICES": str(devices)} | variables
    command = [sys.executable, str(SCRIPT), network, *map(str, (devices, EXAMPLES, BATCH)), str(out), then]
    return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def read(path):
    """The weights and the figures that a training has left."""
    with np.load(path) as file:
        arrays = dict(file)
    return [arrays.pop(name) for name in list(arrays) if name.startswith("arr_")], arrays


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The result of a training, made once."""

    @functools.cache
    def result(backend, devices):
        out = tmp_path_factory.mktemp("trained") / "rank"
        process = start(backend, out, devices)
        _, errors = process.communicate(timeout=180)
        assert process.returncode == 0, errors
        return read(f"{out}0.npz")

    return result


def difference(weights, others):
    return max(np.abs(a - b).max() for a, b in zip(weights, others, strict=True))


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_two_devices_give_the_weights_of_one(backend, trained):
    (one, figures), (two, others) = trained(backend, 1), trained(backend, 2)
    assert difference(one, two) < TOLERANCE
    # Every test image is counted once; in training the last batch, filled up, counts as 6 examples instead of 5.
    np.testing.assert_allclose(others["val_accuracy"], figures["val_accuracy"], rtol=1e-6)
    np.testing.assert_allclose(others["accuracy"], figures["accuracy"], atol=0.01)


@pytest.fixture
def pair(tmp_path):
    """Two processes that train together and go on until they are ended."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{port}",
        "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
        "JAX_COORDINATOR_BIND_ADDRESS": f"127.0.0.1:{port}",
        "KERAS_SKIP_HEARTBEAT_SECONDS": "5",
    }
    ranks = [
        start("jax", tmp_path / "rank", then="go on", KERAS_DISTRIBUTION_PROCESS_ID=str(rank), **common)
        for rank in range(2)
    ]
    yield ranks
    for process in ranks:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("victim", [0, 1])
def test_two_processes_agree_and_neither_outlives_the_other(victim, pair, trained, tmp_path):
    for process in pair:
        # Gloo writes lines of its own; at the end of a process that fails, there is no such line.
        assert "ready\n" in iter(process.stdout.readline, ""), process.communicate()[1]
    (first, figures), (second, _) = (read(tmp_path / f"rank{rank}.npz") for rank in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    one, expected = trained("jax", 1)
    assert difference(first, one) < TOLERANCE
    np.testing.assert_allclose(figures["val_accuracy"], expected["val_accuracy"], rtol=1e-6)

    pair[victim].send_signal(signal.SIGKILL)
    # A heartbeat of 5 seconds ends before this limit even on a slow machine; without it, JAX waits for 100 seconds.
    _, errors = pair[1 - victim].communicate(timeout=60)
    assert pair[1 - victim].returncode != 0
    assert "Expected all 2 processes to compute together" in errors or "another task died" in errors
