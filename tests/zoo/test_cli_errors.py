"""What goes wrong is one sentence in the shell: every class of errors of ours, odd settings, what is not installed."""

import importlib
import inspect
import os
import pkgutil
import sys
import warnings

import pytest

import export
import keras_skip
import zoo
import zoo.cli
from zoo.cli import console
from zoo.cli._command import WrongValue
from zoo.training.recipe import SETTINGS

ODD = ["{[]:1}", "[[]]", "None", "-1", "(", "x", "1e999", "...", "{1:2}", "()", ""]
# What these need is an extra.
EXTRAS = ("export.serving.grpc_server", "export.serving.ray_serve")


def our_errors():
    """Every class of exceptions that a module of ours defines, but for those that Typer shows or end a process."""
    found = set()
    for package in (keras_skip, zoo, export):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name.startswith(EXTRAS) or module.name.endswith("__main__"):
                continue
            here = importlib.import_module(module.name)
            found |= {
                kind
                for _, kind in inspect.getmembers(here, inspect.isclass)
                if issubclass(kind, Exception) and kind.__module__ == module.name and kind is not WrongValue
            }
    return sorted(found, key=lambda kind: (kind.__module__, kind.__name__))


def said(monkeypatch, capsys, error):
    """What the command line writes when a command ends in an error."""

    def fails(**_):
        raise error

    monkeypatch.setattr(zoo.cli, "app", fails)
    with pytest.raises(SystemExit) as ended:
        zoo.cli.main()
    assert ended.value.code == 1
    return capsys.readouterr().err


def test_every_error_of_ours_is_one_sentence(monkeypatch, capsys):
    kinds = our_errors()
    names = {kind.__name__ for kind in kinds}
    assert {"PublishingError", "TrainingError", "ExportError", "VerificationError", "MissingReader"} <= names
    for kind in kinds:
        error = kind.__new__(kind)
        error.args = ("Expected this.\n  Received: that",)
        assert said(monkeypatch, capsys, error) == "Error: Expected this. Received: that\n", kind


def test_errors_of_libraries_are_one_line_or_shown_whole(monkeypatch, capsys):
    assert said(monkeypatch, capsys, ValueError("\x1b[1mShapes\x1b[0m\ndiffer")) == "Error: Shapes differ\n"
    assert said(monkeypatch, capsys, FileNotFoundError(2, "No such file", "x")).count("\n") == 1
    monkeypatch.setattr(zoo.cli, "app", lambda **_: {}["a mistake of ours"])
    with pytest.raises(KeyError):
        zoo.cli.main()


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("Expected a path where nothing is, or overwrite=True. Received: x", "nothing is, or --overwrite. Received"),
        (
            "The folder 'x' exists. Choose another one, or overwrite the run in it",
            "one, or replace it with --overwrite",
        ),
        ("The file 'x' exists. Choose another name, or overwrite it", "name, or replace it with --overwrite"),
        ("x exists. Choose another path, or overwrite=True.", "path, or --overwrite."),
        ("Expected images of one size, or image_size=(height, width)", "or --image-size HEIGHTxWIDTH"),
        ("another one, or pass cache=False to use none", "one, or make room with `keras-skip cache clear`"),
        (
            "or validation=0.1 to hold one out, for keep='best', since",
            "or --validation 0.1 to hold one out, for --keep best, since",
        ),
        ("or validation=0.1 to hold one out, for patience=3, since", "for --patience 3, since"),
        (
            "or one of columns={'b c': 'category'} and {'b c': 'ignore'}.",
            "or --column 'b c=category' or --column 'b c=",
        ),
        ("Expected target, the column to predict: one of a, b.", "Expected --target, the column"),
        ("or on_bad_image='skip' to leave others out", "or --on-bad-image skip to"),
    ],
)
def test_arguments_of_python_are_options_of_the_shell(message, shown, monkeypatch, capsys):
    assert shown in said(monkeypatch, capsys, ValueError(message))


def test_a_warning_is_one_line_without_its_place(monkeypatch):
    monkeypatch.setattr(zoo.cli, "app", lambda **_: None)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    zoo.cli.main()
    assert warnings.formatwarning("odd.", UserWarning, "here.py", 1) == "Warning: odd.\n"


def test_package_that_is_not_installed_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setenv("KERAS_BACKEND", "absent")
    monkeypatch.setattr(zoo.cli, "app", lambda **_: importlib.import_module("absent"))
    with pytest.raises(SystemExit):
        zoo.cli.main()
    assert capsys.readouterr().err == "Error: KERAS_BACKEND=absent needs the package absent, which is not installed\n"
    monkeypatch.delenv("KERAS_BACKEND")
    with pytest.raises(SystemExit):
        zoo.cli.main()
    assert capsys.readouterr().err == "Error: This command needs the package absent, which is not installed\n"
    monkeypatch.setattr(zoo.cli, "app", lambda **_: importlib.import_module("zoo.absent"))
    with pytest.raises(ModuleNotFoundError):
        zoo.cli.main()


RIGHT = {
    *((name, "None") for name in ("schedule.warmup_factor", "weights", "class_weight", "teacher")),
    *((name, "None") for name in ("image_size", "shorter", "loss_threshold")),
    *((name, "()") for name in ("initialization", "augment.crop_area", "augment.sizes")),
}


@pytest.mark.parametrize("value", ODD)
def test_odd_settings_are_one_sentence(value, monkeypatch, capsys, tmp_path):
    """In the place of each setting that is not text, which most of them are."""
    monkeypatch.chdir(tmp_path)
    text = {"name", "network", "source", "command", "paper", "cost", "result", "schedule.milestones", "jit"}
    names = [name for name in SETTINGS if name not in text] + ["arguments.depth", "arguments.weight_decay", "color"]
    for name in names:
        if (name, value) in RIGHT:
            continue
        monkeypatch.setattr(sys, "argv", ["keras-skip", "train", "plain_mlp_digits", "--set", f"{name}={value}"])
        with pytest.raises(SystemExit) as ended:
            zoo.cli.main()
        shown = capsys.readouterr().err
        assert ended.value.code == 1 and shown.startswith("Error: Expected ") and shown.count("\n") == 1, (name, shown)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["seed", "epochs", "batch_size"])
def test_number_that_no_library_takes_is_refused(name):
    with pytest.raises(ValueError, match=f"^Expected {name} to be"):
        zoo.get_recipe("plain_mlp_digits").changed({name: 2**40})


@pytest.mark.parametrize("error", [ModuleNotFoundError("No module named 'torch'", name="torch"), ValueError("No.")])
def test_noise_before_a_sentence_is_held_back(error, capfd):
    with pytest.raises(type(error)), console.quietly():
        os.write(2, b"noise of a library")
        raise error
    assert capfd.readouterr().err == ""
