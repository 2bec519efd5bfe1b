"""The command that trains, on several devices and in several processes: virtual devices of this CPU."""

import json
import signal
import socket
import time
from types import SimpleNamespace

import numpy as np
import pytest

import zoo
from tests.processes import keras_skip, run_code, start_command
from tests.sweep import sweep
from zoo.devices.hosts import Hosts
from zoo.training.train import _open_folder

# Sums in another order differ in the last bits; a wrong mean or a wrong order of batches by more than 1e-2.
TOLERANCE = 1e-5

# One device; then two, stopped in the middle of an epoch, and going on.
TRAIN = """
import dataclasses

import keras
import numpy as np

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import zoo
from zoo.devices.selection import select

class Stop(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if zoo.open_run("two").epochs_done == 1 and batch == 2:
            raise KeyboardInterrupt

source = zoo.load_source("digits")
some = {"train_inputs": source.train_inputs[:277], "train_targets": source.train_targets[:277]}
source = dataclasses.replace(source, **some)
settings = {"epochs": 2, "optimizer.ema": 0.9, "arguments.depth": 3}
stops = {"checkpoint_steps": 2, "callbacks": [Stop()]}
zoo.train("highway_mlp_digits", source, "one", devices=select("cpu", 1), **settings)
try:
    zoo.train("highway_mlp_digits", source, "two", devices=select("cpu", 2), **stops, **settings)
except KeyboardInterrupt:
    zoo.resume("two", source)
one, two = (zoo.load(name).get_weights() for name in ("one", "two"))
print(max(float(np.abs(a - b).max()) for a, b in zip(one, two, strict=True)))
"""


# test_accumulation.py does the same on JAX, with batches in parts.
@pytest.mark.parametrize("backend", sweep(["tensorflow", "jax"], {"tensorflow"}))
def test_two_devices_train_and_go_on_to_the_network_of_one(backend, tmp_path):
    told = run_code(TRAIN, cwd=tmp_path, KERAS_BACKEND=backend, JAX_NUM_CPU_DEVICES="2")
    assert float(told) < TOLERANCE
    one, two = (json.loads((tmp_path / name / "run.json").read_text()) for name in ("one", "two"))
    assert (one["devices"]["count"], two["devices"]["count"]) == (1, 2)
    assert two["resumed"][0]["epoch"] == 1
    assert two["resumed"][0]["batch"] == 2
    assert two["results"]["test_accuracy"] == pytest.approx(one["results"]["test_accuracy"], abs=1e-6)
    assert (tmp_path / "two" / "report.html").is_file()


@pytest.mark.parametrize(("again", "taken"), [(False, []), (True, ["step-000000005.npz"])])
def test_a_process_that_does_not_write_takes_the_checkpoints_to_go_on(again, taken, tmp_path):
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    for path in (tmp_path / "run.json", checkpoints / "step-000000005.npz", checkpoints / ".step-12345678.npz"):
        path.write_text("{}")
    (checkpoints / "step-000000010.npz").symlink_to("removed in the meantime")
    with _open_folder(tmp_path, SimpleNamespace(hosts=Hosts(1, 2)), again) as place:
        assert [path.relative_to(place).as_posix() for path in place.iterdir()] == ["checkpoints"]
        assert [path.name for path in (place / "checkpoints").iterdir()] == taken


def start_pair(command, folders):
    """Starts a command in two processes that train together, each in a folder of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {
        "KERAS_BACKEND": "jax",
        "COLUMNS": "160",
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{port}",
        "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
        "JAX_COORDINATOR_BIND_ADDRESS": f"127.0.0.1:{port}",
    }
    return [
        start_command(*command, cwd=folder, KERAS_DISTRIBUTION_PROCESS_ID=str(rank), **common)
        for rank, folder in enumerate(folders)
    ]


def test_two_processes_train_one_run_and_the_first_alone_keeps_it(tmp_path):
    settings = ["--epochs", "1", "--set", "arguments.depth=4", "--device", "cpu"]
    command = ["train", "highway_mlp_digits", "--out", "run", *settings]
    folders = [tmp_path / f"host{rank}" for rank in range(2)]
    for folder in folders:
        folder.mkdir()
    first, second = (process.wait() for process in start_pair(command, folders))
    assert (first.returncode, second.returncode) == (0, 0), (first.stderr, second.stderr)
    record = json.loads((folders[0] / "run" / "run.json").read_text())
    assert (record["status"], record["devices"]["count"], record["devices"]["processes"]) == ("complete", 2, 2)
    assert "in 2 processes" in first.stderr
    assert f"{record['results']['test_accuracy']:.2%}" in first.stdout
    assert "Trained" not in second.stdout
    assert list(folders[1].iterdir()) == []

    keras_skip(*command, cwd=tmp_path, KERAS_BACKEND="jax")
    together, alone = (zoo.load(folder / "run").get_weights() for folder in (folders[0], tmp_path))
    assert max(np.abs(a - b).max() for a, b in zip(together, alone, strict=True)) < TOLERANCE


def test_a_signal_to_one_process_stops_both_after_the_same_step(tmp_path):
    # An epoch is longer than the steps between which they ask each other.
    options = ["--epochs", 1000, "--batch-size", 32, "--set", "arguments.depth=4", "--device", "cpu", "--out", "run"]
    pair = start_pair(["train", "highway_mlp_digits", *options], [tmp_path, tmp_path])
    history, deadline = tmp_path / "run" / "history.csv", time.monotonic() + 200
    while not history.exists() or len(history.read_text().splitlines()) < 2:
        assert pair[0].is_running() and time.monotonic() < deadline, pair[0].wait(0).stderr
        time.sleep(0.02)
    pair[1].terminate()
    done = [process.wait(60) for process in pair]
    assert [process.returncode for process in done] == [128 + signal.SIGTERM] * 2, [one.stderr for one in done]
    assert "resume with: keras-skip train --resume run" in done[0].stderr.splitlines()[-1]
    assert done[1].stderr.splitlines()[-1] == "Interrupted. Process 0 has saved a checkpoint"
    run = zoo.open_run(tmp_path / "run")
    assert run.status == "interrupted"
    assert list((run.path / "checkpoints").glob("step-*.npz"))
