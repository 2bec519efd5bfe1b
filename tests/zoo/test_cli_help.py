"""The front door: help, version, completion, `python -m keras_skip`, and words for values of the wrong type."""

import os
import runpy
import subprocess
import sys
import types
import warnings
from importlib.metadata import version
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from zoo.cli import app

ROOT = Path(__file__).parents[2]
GROUP = typer.main.get_command(app)
COMMANDS = {(name,): command for name, command in GROUP.commands.items()}
COMMANDS |= {("cache", name): command for name, command in GROUP.commands["cache"].commands.items()}
NUMBERS = [
    (name, parameter)
    for name, command in COMMANDS.items()
    for parameter in command.params
    if parameter.type_descriptor.annotation in (int, float)
]


def run(*arguments, **environment):
    # Wider than a help ever is.
    environment = {"COLUMNS": "200", **environment}
    return CliRunner().invoke(app, list(arguments), prog_name="keras-skip", env=environment)


@pytest.mark.parametrize("command", [(), *COMMANDS], ids=" ".join)
def test_help_fits_80_columns_and_names_no_type_of_python(command):
    done = run(*command, "--help")
    assert done.exit_code == 0 and done.output.startswith(f"Usage: {' '.join(['keras-skip', *command])} [OPTIONS]")
    assert run(*command, "-h").output == done.output
    assert max(map(len, done.output.splitlines())) <= 80
    assert not any(sign in done.output for sign in ("<", ">", "{", "}"))
    # Arguments are in brackets if they are not.
    assert "[required]" not in done.output.partition("Options:")[0]


def test_the_list_of_commands_is_whole():
    """Click would cut what is too long, with an ellipsis."""
    described = run("--help").output.partition("Commands:")[2].splitlines()
    lines = {line.split()[0]: line for line in described if line.strip()}
    assert [*lines] == [*GROUP.commands] and [*lines][-1] == "cache"
    assert all(line.endswith(".") and not line.endswith("..") for line in lines.values())


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_argument_and_option_is_explained(command):
    for parameter in COMMANDS[command].params:
        flag = getattr(parameter, "is_flag", False)
        assert parameter.help and parameter.help[-1] == ".", parameter.name
        assert flag or parameter.metavar, parameter.name


def test_every_command_that_streams_can_skip_images_as_its_errors_advise():
    options = [{option for parameter in command.params for option in parameter.opts} for command in COMMANDS.values()]
    streaming = [given for given in options if "--stream" in given]
    assert len(streaming) == 3 and all("--on-bad-image" in given for given in streaming)


def test_short_options_are_the_same_everywhere():
    long_names = {}
    for command in COMMANDS.values():
        for parameter in command.params:
            for short in (option for option in parameter.opts if len(option) == 2):
                long_names.setdefault(short, set()).add(max(parameter.opts, key=len))
    shared = {short: long for short, long in long_names.items() if short in ("-o", "-e", "-d", "-s", "-w", "-f")}
    assert all(len(long) == 1 for long in shared.values()) and len(shared) == 6
    assert long_names["-b"] == {"--batch-size", "--batch"}


@pytest.mark.parametrize(("command", "parameter"), NUMBERS, ids=lambda value: getattr(value, "name", None))
def test_a_word_in_place_of_a_number_is_refused_in_the_words_of_the_shell(command, parameter):
    option = max(parameter.opts, key=len)
    kind = "a whole number" if parameter.type_descriptor.annotation is int else "a number"
    done = run(
        *command, *("x" for other in COMMANDS[command].params if other.param_type_name == "argument"), option, "many"
    )
    usage, hint, _, message = done.output.splitlines()
    assert done.exit_code == 2 and usage.startswith("Usage: keras-skip ") and "--help' for help" in hint
    assert message == f"Error: Expected {option} to be {kind}. Received: {option} many"


def test_wrong_usage_is_exit_code_2():
    for command, message in {
        ("fly",): "Error: No such command 'fly'.",
        ("trian",): "Error: No such command 'trian'. Did you mean 'train'?",
        ("report",): "Error: Missing argument 'RUN'.",
        ("train", "--epoch", "3"): "Error: No such option: --epoch (Possible options: --epochs, --keep)",
    }.items():
        done = run(*command)
        assert done.exit_code == 2 and done.output.splitlines()[-1] == message


def test_version():
    assert run("--version").output == f"keras-skip {version('keras-skip')}\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with two runs, one of which is exported."""
    for path in ("runs/digits/run.json", "runs/digits/export/artifact.json", "runs/mnist/run.json", "old/one/run.json"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_SKIP_CACHE", str(tmp_path))


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("train resnet20_d", ["resnet20_digits"]),
        ("compare plain_m", ["plain_mlp"]),
        ("compare plain_mlp --recipe highway_mlp_d", ["highway_mlp_digits"]),
        ("describe plain_mlp", ["plain_mlp", "plain_mlp_digits", "plain_mlp_mnist_fast"]),
        ("train --resume ", ["runs/digits", "runs/mnist"]),
        ("draw runs/m", ["runs/mnist"]),
        ("draw residual_", ["residual_mlp"]),
        ("report old/", ["old/one"]),
        ("verify r", ["runs/digits/export"]),
        ("verify runs/digits/e", ["runs/digits/export"]),
        ("export runs/digits --precision f", ["fp32", "fp16"]),
        ("train --on", ["--on-bad-image"]),
        ("cache clear p", []),
        ("res", ["results"]),
    ],
)
def test_completion(line, offered, folder):
    words = f"keras-skip {line}"
    done = run(_KERAS_SKIP_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(len(line.split(" "))))
    assert done.output.split() == offered


def test_completion_can_be_installed():
    assert {"--install-completion", "--show-completion"} <= {option for p in GROUP.params for option in p.opts}
    assert "complete -o default -F _keras_skip_completion keras-skip" in run(_KERAS_SKIP_COMPLETE="source_bash").output


def python(*arguments, cwd):
    # Keras refuses this backend as soon as it is imported.
    environment = os.environ | {"PYTHONPATH": str(ROOT), "KERAS_BACKEND": "absent"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


def test_python_m_keras_skip_is_the_command_and_imports_no_keras(tmp_path):
    done = python("-m", "keras_skip", "list", "plain_mlp", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "") and "46,410" in done.stdout
    done = python("-m", "keras_skip", "draw", "plain_mlp", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1) and "absent" in done.stderr


def test_the_command_imports_the_layers_that_python_left_out(monkeypatch):
    found = types.ModuleType("keras_skip")
    monkeypatch.setitem(sys.modules, "keras_skip", found)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    monkeypatch.setattr(sys, "argv", ["keras-skip", "--version"])
    with pytest.raises(SystemExit):
        runpy.run_path(str(ROOT / "keras_skip" / "__main__.py"), run_name="__main__")
    assert sys.modules.get("keras_skip") is not found


def test_a_module_of_the_users_that_python_m_runs_finds_the_layers(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").write_text("from keras_skip import ResidualBlock\n")
    (tmp_path / "mine" / "train.py").touch()
    done = python("-m", "mine.train", "keras_skip", cwd=tmp_path)
    assert "import keras" in done.stderr and "ResidualBlock" not in done.stderr.splitlines()[-1]
