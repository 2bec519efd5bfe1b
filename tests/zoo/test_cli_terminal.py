"""The command line on a real terminal, where it shows bars instead of lines."""

import os
import pty
import re
import sys
import time

import pytest

from export.steps import STEPS
from tests.processes import start
from tests.zoo.image_sets import as_folder, data_set
from zoo.cli import console, main


def on_terminal(*commands):
    """Runs commands one after the other on a terminal, and writes to standard output what appears there."""
    child, screen = pty.fork()
    if child == pty.CHILD:
        for command in commands:
            sys.argv = ["keras-skip", *map(str, command)]
            try:
                main()
            except SystemExit as ended:
                if ended.code:
                    raise
        sys.exit()
    try:
        while seen := os.read(screen, 65536):
            sys.stdout.buffer.write(seen)
    except OSError:  # which Linux raises at the end
        pass
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def see(*commands, cwd):
    """What appears on a terminal 100 characters wide, without colours: each state of a bar is a line."""
    done = start(on_terminal, *commands, cwd=cwd, COLUMNS="100", TERM="xterm").wait()
    seen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", done.stdout).replace("\r", "\n")
    assert done.returncode == 0, seen + done.stderr
    return seen


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What appeared while a network was trained on images, evaluated, and used to predict."""
    folder = tmp_path_factory.mktemp("terminal")
    images = as_folder(folder, data_set("train/", "test/"))
    recipe = "resnet20_digits", "--epochs", "2", "--batch-size", "4", "--set", "arguments.depth=8"
    train = "train", *recipe, "--data", images, "--out", "run"
    predict = "predict", "run", images / "test", "--out", "predicted.csv"
    return see(train, ("evaluate", "run"), ("export", "run", "--format", "onnx"), predict, cwd=folder)


def test_a_bar_shows_epochs_speed_accuracy_and_the_time_left(seen):
    states = [line for line in seen.splitlines() if line.startswith("epoch ")]
    rate, times = r"[━╺╸ ]+ \d+ examples/s, test accuracy", r"\d:\d\d:\d\d \+ (\d|-):(\d|-){2}:(\d|-){2}"
    assert re.fullmatch(rf"epoch 1/2 {rate} -, {times}", states[0])
    last = re.fullmatch(rf"epoch 2/2 {rate} (\d+\.\d\d%), \d:\d\d:\d\d \+ 0:00:00", states[-1])
    assert f"\ntest accuracy  {last[1]}\n" in seen


def test_bars_show_how_much_is_read_measured_and_predicted(seen):
    for part in ("test", "train"):
        assert re.search(rf"^measuring the {part} examples ━+ \d:\d\d:\d\d \+ 0:00:00", seen, re.MULTILINE)
    assert re.search(r"^reading the images ━+ 100% 0:00:00", seen, re.MULTILINE)
    assert re.search(r"^━+ 10 inputs, [\d,]+/s, \d:\d\d:\d\d \+ 0:00:00", seen, re.MULTILINE)


def test_an_export_shows_its_step_and_the_time(seen):
    for step in ("computing Keras's answers", "converting to ONNX", "comparing with Keras"):
        assert re.search(rf"^. {step} \d:\d\d:\d\d", seen, re.MULTILINE)
    assert "INFO" not in seen


@pytest.mark.parametrize("terminal", [True, False])
def test_the_steps_reach_no_handler_that_a_library_installed(terminal, monkeypatch, caplog, capsys):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with console.steps("export"):
        STEPS.info("converting")
        time.sleep(0.2)  # twice as long as until the bar is drawn again
    assert ("converting" in capsys.readouterr().err) is terminal
    assert not caplog.records
    STEPS.warning("after it")
    assert len(caplog.records) == 1
