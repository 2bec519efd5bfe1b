"""The command that trains, on several devices and in several processes: virtual devices of this CPU."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from zoo.devices.hosts import Hosts
from zoo.training.train import _open_folder

ROOT = Path(__file__).parents[2]
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
some = {"train_images": source.train_images[:277], "train_labels": source.train_labels[:277]}
source = dataclasses.replace(source, **some)
settings = {"epochs": 3, "optimizer.ema": 0.9, "arguments.depth": 4}
stops = {"checkpoint_steps": 2, "callbacks": [Stop()]}
zoo.train("highway_mlp_digits", source, "one", devices=select("cpu", 1), **settings)
try:
    zoo.train("highway_mlp_digits", source, "two", devices=select("cpu", 2), **stops, **settings)
except KeyboardInterrupt:
    zoo.resume("two", source)
one, two = (zoo.load(name).get_weights() for name in ("one", "two"))
print(max(float(np.abs(a - b).max()) for a, b in zip(one, two, strict=True)))
"""


def environment(**variables):
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT), "XLA_FLAGS": "", "COLUMNS": "160"}
    return os.environ | quiet | variables


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_two_devices_train_and_go_on_to_the_network_of_one(backend, tmp_path):
    variables = environment(KERAS_BACKEND=backend, JAX_NUM_CPU_DEVICES="2")
    command = [sys.executable, "-c", TRAIN]
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < TOLERANCE
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


def test_two_processes_train_one_run_and_the_first_alone_keeps_it(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {
        "KERAS_BACKEND": "jax",
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{port}",
        "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
        "JAX_COORDINATOR_BIND_ADDRESS": f"127.0.0.1:{port}",
    }
    settings = ["--epochs", "1", "--set", "arguments.depth=4", "--device", "cpu"]
    command = [sys.executable, "-m", "zoo.cli", "train", "highway_mlp_digits", "--out", "run", *settings]
    folders = [tmp_path / f"host{rank}" for rank in range(2)]
    processes = []
    for rank, folder in enumerate(folders):
        folder.mkdir()
        variables = environment(KERAS_DISTRIBUTION_PROCESS_ID=str(rank), **common)
        processes.append(
            subprocess.Popen(
                command, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
    said = [process.communicate(timeout=240) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    record = json.loads((folders[0] / "run" / "run.json").read_text())
    assert (record["status"], record["devices"]["count"], record["devices"]["processes"]) == ("complete", 2, 2)
    assert "in 2 processes" in said[0][1]
    assert f"{record['results']['test_accuracy']:.2%}" in said[0][0]
    assert "Trained" not in said[1][0]
    assert list(folders[1].iterdir()) == []

    alone = environment(KERAS_BACKEND="jax")
    subprocess.run(command, cwd=tmp_path, env=alone, capture_output=True, check=True, timeout=240)
    compare = (
        "import sys, zoo, numpy as np\n"
        "a, b = (zoo.load(p).get_weights() for p in sys.argv[1:])\n"
        "print(max(np.abs(x - y).max() for x, y in zip(a, b, strict=True)))"
    )
    runs = [str(folder / "run") for folder in (folders[0], tmp_path)]
    told = subprocess.run(
        [sys.executable, "-c", compare, *runs], env=alone, capture_output=True, text=True, check=True, timeout=120
    )
    assert np.float64(told.stdout) < TOLERANCE
