"""One training on several devices, and on several processes, in processes of their own: virtual devices of this CPU."""

import functools
import re
import socket
from pathlib import Path

import numpy as np
import pytest

from tests.processes import run_code, start_script
from tests.sweep import sweep
from zoo.devices.hosts import RANK, is_first_process

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("several.py")
# The last of three batches has 5 examples.
EXAMPLES, BATCH = 133, 64
# Sums in another order differ in the last bits of float32, about 1e-7 a step. Batches in a wrong order, or a mean of
# means over parts of different size, give differences above 1e-2.
TOLERANCE = 1e-5


def begin(backend, out, devices=1, then="end", network="highway_mlp", **variables):
    variables = {"KERAS_BACKEND": backend, "JAX_NUM_CPU_DEVICES": str(devices), **variables}
    return start_script(SCRIPT, network, devices, EXAMPLES, BATCH, out, then, cwd=ROOT, **variables)


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
        done = begin(backend, out, devices).wait()
        assert done.returncode == 0, done.stderr
        return read(f"{out}0.npz")

    return result


def difference(weights, others):
    return max(np.abs(a - b).max() for a, b in zip(weights, others, strict=True))


@pytest.mark.parametrize(("rank", "first"), [(None, True), ("", True), ("0", True), ("1", False), ("10", False)])
def test_the_first_process_is_known_before_they_are_connected(rank, first, monkeypatch):
    monkeypatch.delenv(RANK, raising=False)
    if rank is not None:
        monkeypatch.setenv(RANK, rank)
    assert is_first_process() is first


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_two_devices_give_the_weights_of_one(backend, trained):
    (one, figures), (two, others) = trained(backend, 1), trained(backend, 2)
    assert difference(one, two) < TOLERANCE
    # Every test image is counted once; in training the last batch, filled up, counts as 6 examples instead of 5.
    np.testing.assert_allclose(others["val_accuracy"], figures["val_accuracy"], rtol=1e-6)
    np.testing.assert_allclose(others["accuracy"], figures["accuracy"], atol=0.01)


@pytest.fixture
def pair(tmp_path):
    """Two processes that train together until they are killed."""
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
        begin("jax", tmp_path / "rank", then="continue", KERAS_DISTRIBUTION_PROCESS_ID=str(rank), **common)
        for rank in range(2)
    ]
    yield ranks
    for process in ranks:
        process.kill()


@pytest.mark.parametrize("victim", sweep([0, 1], {0}))
def test_two_processes_agree_and_neither_outlives_the_other(victim, pair, trained, tmp_path):
    for process in pair:
        process.wait_for("ready\n")
    (first, figures), (second, _) = (read(tmp_path / f"rank{rank}.npz") for rank in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    one, expected = trained("jax", 1)
    assert difference(first, one) < TOLERANCE
    np.testing.assert_allclose(figures["val_accuracy"], expected["val_accuracy"], rtol=1e-6)

    pair[victim].kill()
    # A heartbeat of 5 seconds ends before this limit even on a slow machine; without it, JAX waits for 100 seconds.
    other = pair[1 - victim].wait(60)
    assert other.returncode != 0
    assert "The 2 processes cannot compute together" in other.stderr or "another task died" in other.stderr


TWO_DEVICES = """
import keras
import numpy as np
import zoo
from zoo.devices.selection import select

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
devices = select("cpu", 2)
"""

STATISTICS = (
    TWO_DEVICES
    + """
images = np.uint8([0, 4, 10, 22]).reshape(4, 1, 1, 1)
batches = zoo.Batches(images, np.zeros(4, int), 2, zoo.Preprocessing(1.0, (0.0,), (1.0,)), 4)
with devices.scope():
    norm = keras.layers.BatchNormalization(momentum=0.0)
    model = keras.Sequential([keras.Input((1, 1, 1)), norm, keras.layers.Flatten(), keras.layers.Dense(2)])
    model.compile("sgd", "mse", jit_compile=keras.backend.backend() == "jax")
    model.fit(devices.feed(batches), shuffle=False, verbose=0)
print("mean", keras.ops.convert_to_numpy(norm.moving_mean.value).item())
"""
)

DRAWS = """
from keras_skip import StochasticDepth

keras.utils.set_random_seed(0)
strategy = tf.distribute.MirroredStrategy(list(devices.ids))
with strategy.scope():
    inputs = keras.Input((3,))
    block = StochasticDepth(keras.layers.Dense(3, kernel_initializer="ones"), 0.5)
    model = keras.Model(inputs, [block(inputs), keras.layers.Dropout(0.5)(inputs)])
step = tf.function(lambda x: model(x, training=True))
runs = [strategy.run(step, args=(tf.ones((2, 3)),)) for _ in range(12)]
kept, masks = zip(*([[part.numpy() for part in output.values] for output in outputs] for outputs in runs))
print("alike", all(np.array_equal(*pair) for pair in (*kept, *masks)))
print("both outcomes", len({pair[0].tobytes() for pair in kept}) == 2)
"""


def said(code, folder, backend):
    return run_code(code, cwd=folder, KERAS_BACKEND=backend, JAX_NUM_CPU_DEVICES="2").splitlines()


def test_batch_statistics_are_everyones_on_jax(tmp_path):
    assert said(STATISTICS, tmp_path, "jax") == ["mean 9.0"]


def test_batch_statistics_are_the_first_devices_on_tensorflow_where_devices_draw_alike(tmp_path):
    assert said(STATISTICS + DRAWS, tmp_path, "tensorflow") == ["mean 2.0", "alike True", "both outcomes True"]


def test_the_script_of_the_how_to_runs(tmp_path):
    text = (ROOT / "docs" / "several-devices.md").read_text()
    (script,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "train.py").write_text(script)
    done = start_script(tmp_path / "train.py", 2, cwd=tmp_path, KERAS_BACKEND="jax", JAX_NUM_CPU_DEVICES="2").wait()
    assert done.returncode == 0, done.stderr
    assert "'count': 2" in done.stdout
    assert (tmp_path / "digits.keras").is_file()
