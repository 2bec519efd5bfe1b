"""The progress of a training run: what it says about the time left."""

import io
from dataclasses import replace

import keras
import pytest
from rich.console import Console

import zoo
from zoo.data.augmentation import Augmentation
from zoo.devices.selection import select
from zoo.tasks import TASKS
from zoo.training import meter, progress

GROWING = Augmentation(sizes=((0.0, 16), (0.5, 32)))


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands until a test moves it; its only entry is the time in seconds."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    return now


@pytest.fixture
def bar(clock):
    """Makes the bar of four epochs of 100 examples in batches of 10."""

    def make(augment, test=10):
        recipe = replace(zoo.get_recipe("resnet20_digits"), epochs=4, batch_size=10, augment=augment)
        examples, task = {"train": 100, "test": test}, TASKS["classification"]
        with progress.progress_bar(recipe, examples, select(), task, verbose=True) as callbacks:
            (made,) = callbacks
        made.set_params({"steps": 10})
        return made

    return make


def lines(capsys):
    return [line.split(", ")[-1] for line in capsys.readouterr().err.splitlines()]


@pytest.mark.parametrize(
    ("augment", "epoch", "seconds", "left"),
    [
        (Augmentation(), 0, 10, "0:00:30"),
        (Augmentation(sizes=((0.0, 16),)), 1, 10, "0:00:20"),
        # An epoch of 16 pixels takes a quarter of one of 32: 10 + 40 + 40 seconds are left, then 40.
        (GROWING, 0, 10, "0:01:30"),
        (GROWING, 2, 40, "0:00:40"),
    ],
)
def test_time_left_counts_growing_images(bar, clock, capsys, augment, epoch, seconds, left):
    shown = bar(augment)
    shown.on_epoch_begin(epoch)
    clock[0] += seconds
    shown.on_epoch_end(epoch, {})
    assert lines(capsys) == [f"{left} left"]


def test_time_left_within_an_epoch_that_resumed(bar, clock, capsys):
    shown = bar(GROWING)
    shown.set_params({"steps": 6})
    shown.on_epoch_begin(1)
    clock[0] += 60
    shown.on_train_batch_end(2)
    printed = capsys.readouterr().err
    assert "epoch 2/4 (70%): 0 examples/s" in printed
    # 30 examples of 16 pixels took 60 seconds; as many are left of this epoch, and 200 of four times the pixels.
    assert printed.endswith(" 0:27:40 left\n")


def test_the_bar_of_a_terminal_fills_with_the_pixels(bar, clock):
    shown = bar(GROWING, test=600)
    shown.progress.live.console = Console(file=io.StringIO(), force_terminal=True)
    shown.on_epoch_begin(2)
    assert shown.progress.tasks[0].fields["epoch"] == 3
    clock[0] += 1
    shown.on_train_batch_end(4)
    shown.on_train_end()
    (task,) = shown.progress.tasks
    assert task.completed / task.total == pytest.approx(1.0 / 2.5)
    assert task.fields["epoch"] == 3
    for seconds, reached in ((0.1, "-"), (1, "measured 100%")):
        measured(shown, clock, seconds)
        assert task.fields["reached"] == reached


class Stop(keras.callbacks.Callback):
    """Interrupts a training in its second epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt


@pytest.mark.parametrize("verbose", [True, False])
def test_python_shows_what_the_command_does_unless_it_should_not(verbose, tmp_path, capsys):
    names = "plain_mlp:depth=3", "plain_mlp:depth=4"
    zoo.compare(names, tmp_path / "both", "digits", recipe="plain_mlp_digits", seeds=1, verbose=verbose, epochs=1)
    settings = {"verbose": verbose, "epochs": 2, "arguments": {"depth": 3}}
    with pytest.raises(KeyboardInterrupt):
        zoo.train("plain_mlp_digits", out=tmp_path / "run", callbacks=[Stop()], **settings)
    zoo.resume(tmp_path / "run", verbose=verbose)
    said = [line.partition(":")[0] for line in capsys.readouterr().err.splitlines()]
    device = "Training on the CPU"
    compared = [line for name in ("plain_mlp-depth=3-0", "plain_mlp-depth=4-0") for line in (name, device, "epoch 1/1")]
    assert said == ([*compared, device, "epoch 1/2", device, "epoch 2/2"] if verbose else [])


def measured(callback, clock, seconds=30):
    """Goes through three batches of a measurement, each of which takes as long."""
    callback.on_test_begin()
    for batch in range(3):
        clock[0] += seconds
        callback.on_test_batch_end(batch)


def test_measurements_show_a_line_for_each_minute(bar, clock, capsys):
    with meter.meter("test examples", 3) as (shown,):
        measured(shown, clock)
    fit = bar(Augmentation(), test=600)
    fit.on_epoch_begin(1)
    measured(fit, clock)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["measuring the test examples (67%): 0:00:30 left", "epoch 2/4: test accuracy measured 67%"]


def test_what_is_quick_shows_no_line(clock, capsys):
    with meter.meter("test examples", 3) as (shown,):
        measured(shown, clock, seconds=10)
    with meter.meter("", 3) as none:
        assert none == []
    assert capsys.readouterr().err == ""
