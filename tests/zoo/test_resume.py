"""A resumed run ends with the same result, however and whenever it was interrupted."""

import csv
import os
import re
import signal
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

import zoo
from tests.processes import keras_skip, start_command, start_script
from tests.zoo import victim
from zoo.training.folder import lock_run
from zoo.training.train import _restore_source

pytestmark = pytest.mark.usefixtures("no_report")


def train(out, **settings):
    return zoo.train(**victim.SETTINGS | settings, out=out)


# For tests in which nothing is random but the order of the images.
QUICK = {"network": "plain_mlp", "arguments.depth": 3}


def history(run):
    with (run.path / "history.csv").open() as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def assert_same(run, other):
    pairs = zip(zoo.load(run.path).get_weights(), zoo.load(other.path).get_weights(), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)
    assert history(run) == history(other)
    timeless = [{k: v for k, v in r.results.items() if "second" not in k} for r in (run, other)]
    assert timeless[0] == timeless[1]


def last_checkpoint(run):
    return sorted((run.path / "checkpoints").glob("step-*.npz"))[-1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that nothing happens to: three epochs of twelve steps, a checkpoint every five."""
    return train(tmp_path_factory.mktemp("runs") / "whole")


@pytest.fixture(scope="module")
def whole_quick(tmp_path_factory):
    """The same of a network that trains sooner."""
    return train(tmp_path_factory.mktemp("runs") / "quick", **QUICK)


def test_run_that_was_killed_again_and_again_ends_as_if_nothing_had_happened(whole, tmp_path):
    """In a step, while it writes a checkpoint, and after the network was saved, before its record says so."""
    folder = tmp_path / "run"
    for moment, rows in (("step", 1), ("checkpoint", 2), ("status", 3)):
        # With the variables of this process, which the record of a run keeps.
        done = start_script(Path(victim.__file__), folder, moment, cwd=tmp_path, **os.environ).wait()
        assert done.returncode == -signal.SIGKILL, done.stderr
        run = zoo.open_run(folder)
        assert (run.status, run.status_now, run.epochs_done) == ("running", "killed", rows)
    assert len(list((folder / "checkpoints").glob("step-*.npz"))) == 2
    run = zoo.resume(folder)
    assert run.status == "complete"
    assert [(r["epoch"], r["batch"]) for r in run.record["resumed"]] == [(1, 5), (1, 10), (3, 0)]
    assert not list((folder / "checkpoints").glob(".*"))
    assert_same(run, whole)
    assert zoo.resume(run) == run


class Raise(keras.callbacks.Callback):
    def __init__(self, epoch, batch, error):
        super().__init__()
        self.moment, self.error = (epoch, batch), error

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == self.moment:
            raise self.error


def test_dropout_and_the_scale_of_float16_go_on_where_they_were(tmp_path):
    settings = victim.DROPOUT | {"precision": "mixed_float16", "epochs": 2, "data": "digits"}
    whole = train(tmp_path / "whole", **settings)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", **settings, callbacks=[Raise(0, 7, KeyboardInterrupt())])
    assert zoo.open_run(tmp_path / "run").status == "interrupted"
    keras.utils.set_random_seed(1)
    assert_same(zoo.resume(tmp_path / "run"), whole)


def test_damaged_checkpoint_is_left_out_for_the_one_before(whole_quick, tmp_path):
    with pytest.raises(RuntimeError, match="the power failed"):
        train(tmp_path / "run", **QUICK, callbacks=[Raise(1, 1, RuntimeError("the power failed"))])
    run = zoo.open_run(tmp_path / "run")
    assert (run.status, run.record["reason"]) == ("failed", "the power failed")
    damaged = bytearray(last_checkpoint(run).read_bytes())
    damaged[len(damaged) // 2] ^= 1
    last_checkpoint(run).write_bytes(damaged)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = zoo.resume(run)
    said = " ".join(str(warning.message) for warning in caught)
    assert re.search(r"step-000000012\.npz cannot be used and is skipped.* is damaged", said)
    assert_same(run, whole_quick)


def test_checkpoints_of_which_none_is_whole_are_an_error(tmp_path):
    with pytest.raises(RuntimeError):
        train(tmp_path / "run", **QUICK, callbacks=[Raise(0, 6, RuntimeError())])
    last_checkpoint(zoo.open_run(tmp_path / "run")).write_bytes(b"PK")
    with (
        pytest.raises(zoo.TrainingError, match="All checkpoints are damaged"),
        pytest.warns(UserWarning, match="is skipped"),
    ):
        zoo.resume(tmp_path / "run")


def test_run_without_a_checkpoint_begins_again(tmp_path, whole_quick):
    with pytest.raises(RuntimeError):
        train(tmp_path / "run", **QUICK, callbacks=[Raise(0, 2, RuntimeError())])
    assert_same(zoo.resume(tmp_path / "run"), whole_quick)


def test_second_process_on_a_run_is_refused(tmp_path):
    with pytest.raises(RuntimeError):
        train(tmp_path / "run", **QUICK, callbacks=[Raise(0, 2, RuntimeError())])
    with lock_run(tmp_path / "run"):
        for again in (lambda: zoo.resume(tmp_path / "run"), lambda: train(tmp_path / "run", **QUICK, overwrite=True)):
            with pytest.raises(zoo.TrainingError, match="Another process is training in .*run.: process"):
                again()
    assert zoo.open_run(tmp_path / "run").status == "failed"


def test_other_data_and_another_backend_are_refused(tmp_path):
    with pytest.raises(RuntimeError):
        train(tmp_path / "run", **QUICK, callbacks=[Raise(0, 2, RuntimeError())])
    digits = zoo.load_source("digits")
    other = replace(digits, train_inputs=digits.train_inputs[:9], train_targets=digits.train_targets[:9])
    with pytest.raises(ValueError, match="Expected the data that the run began with"):
        zoo.resume(tmp_path / "run", other)
    from zoo.devices.environment import environment, restore_environment

    with pytest.raises(ValueError, match="Expected KERAS_BACKEND=jax"):
        restore_environment(environment() | {"backend": "jax"})
    with pytest.raises(ValueError, match="on tensorflow, jax, torch. Received: 'numpy'"):
        restore_environment(environment() | {"backend": "numpy"})
    with pytest.warns(UserWarning, match="cores=99"):
        restore_environment(environment() | {"cores": 99})


@pytest.mark.parametrize("fact", ["fingerprint", "examples", "class_names"])
def test_data_that_differ_from_the_record_in_one_fact_are_refused(fact):
    digits = zoo.load_source("digits")
    with pytest.raises(ValueError, match=f"digits with {fact}="):
        _restore_source(digits, digits.as_dict() | {fact: None})


def test_data_with_other_pixels_are_refused():
    digits = zoo.load_source("digits")
    with pytest.raises(ValueError, match="digits with fingerprint="):
        _restore_source(replace(digits, train_inputs=16 - digits.train_inputs), digits.as_dict())


def test_of_the_environment_a_record_changes_our_variables_alone(monkeypatch):
    from zoo.devices.environment import restore_environment

    monkeypatch.delitem(sys.modules, "keras")
    monkeypatch.setattr(os, "environ", {"PATH": "/bin", "OMP_NUM_THREADS": "8"})
    strange = {"PATH": "/evil", "LD_PRELOAD": "evil.so", "XLA_FLAGS": "--xla_dump_to=here", "OMP_NUM_THREADS": 3}
    with pytest.warns(UserWarning, match="sets PATH, LD_PRELOAD, XLA_FLAGS, OMP_NUM_THREADS, which keras-skip ignores"):
        restore_environment({"backend": "jax", "variables": {**strange, "TF_DETERMINISTIC_OPS": "1"}})
    assert os.environ == {"PATH": "/bin", "KERAS_BACKEND": "jax", "TF_DETERMINISTIC_OPS": "1"}
    flags = {"XLA_FLAGS": "--xla_cpu_enable_fast_math=false --xla_force_host_platform_device_count=2"}
    restore_environment({"backend": "jax", "variables": flags})
    assert os.environ == {"PATH": "/bin", "KERAS_BACKEND": "jax", **flags}


def test_data_given_again_is_split_and_preprocessed_as_it_was(tmp_path):
    mine = replace(zoo.load_source("digits"), name="mine")
    options = {"recipe": "plain_mlp_digits", "data": mine, "epochs": 2, "validation": 0.2, "arguments.depth": 3}
    whole = zoo.train(**options, out=tmp_path / "whole")
    with pytest.raises(RuntimeError):
        zoo.train(**options, out=tmp_path / "run", callbacks=[Raise(1, 2, RuntimeError())])
    other = replace(mine, preprocessing=zoo.Preprocessing(scale=1.0, mean=(3.0,), std=(2.0,)))
    assert_same(zoo.resume(tmp_path / "run", other), whole)


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    class Break(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 8:
                kernel = self.model.trainable_variables[0]
                kernel.assign(kernel.value * np.nan)

    # Before the loss is looked at again, a checkpoint is due.
    with pytest.raises(zoo.TrainingError, match="Expected finite weights. Received: .* in epoch 1"):
        train(tmp_path / "run", **QUICK, callbacks=[Break()])
    run = zoo.open_run(tmp_path / "run")
    assert run.status == "failed"
    assert last_checkpoint(run).name == "step-000000005.npz"


def test_signal_stops_after_the_step_and_the_command_line_goes_on(tmp_path):
    arguments = ["train", "resnet20_digits", "--out", "run", "--checkpoint-minutes", "60"]
    arguments += [f"--set={name}={value}" for name, value in victim.SETTINGS.items() if name not in ARGUMENTS]
    running = start_command(*arguments, "--epochs", 500, cwd=tmp_path)
    history = tmp_path / "run" / "history.csv"
    deadline = time.monotonic() + 200
    while not history.exists() or len(history.read_text().splitlines()) < 2:
        assert running.is_running() and time.monotonic() < deadline, running.wait(0).stderr
        time.sleep(0.05)
    running.terminate()
    done = running.wait(100)
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    assert "Traceback" not in done.stderr
    assert "resume with: keras-skip train --resume run" in done.stderr.splitlines()[-1]
    run = zoo.open_run(tmp_path / "run")
    assert run.status == "interrupted"
    assert "interrupted" in keras_skip("runs", tmp_path, cwd=tmp_path).stdout


ARGUMENTS = ("recipe", "data", "checkpoint_steps", "epochs")
