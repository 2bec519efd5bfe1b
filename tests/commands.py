"""Runs `keras-skip` as a shell does, in a process of its own.

TensorFlow takes seconds to import, so processes are forked from one that has imported it and done nothing else. With
`fresh`, or on another backend, a new Python begins from nothing.
"""

import functools
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
PATIENCE = 300


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def keras_skip(
    *arguments: object, cwd: Path, expect: int = 0, fresh: bool = False, **environment: str
) -> Done | subprocess.CompletedProcess:
    """Returns what the command wrote; standard error is that of the process, C++ included."""
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("TF_", "GRPC_"))}
    variables |= {"PYTHONPATH": str(ROOT), "COLUMNS": "160", "KERAS_BACKEND": "tensorflow", **environment}
    command = [str(argument) for argument in arguments]
    if fresh or variables["KERAS_BACKEND"] != "tensorflow":
        whole = [sys.executable, "-m", "zoo.cli", *command]
        done = subprocess.run(whole, cwd=cwd, env=variables, capture_output=True, text=True, timeout=PATIENCE)
    else:
        done = _forked(command, cwd, variables)
    assert done.returncode == expect, done.stderr
    assert "Traceback" not in done.stderr
    return done


@functools.cache
def _forkserver() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tensorflow", "keras", "tests.commands"])
    return context


def _forked(command: list[str], cwd: Path, variables: Mapping[str, str]) -> Done:
    with TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        process = _forkserver().Process(target=_main, args=(command, str(cwd), dict(variables), str(out), str(err)))
        process.start()
        process.join(PATIENCE)
        if process.exitcode is None:
            process.kill()
            raise TimeoutError(f"keras-skip {' '.join(command)} ran longer than {PATIENCE} seconds")
        return Done(process.exitcode, out.read_text(), err.read_text())


def _main(command: list[str], cwd: str, variables: dict[str, str], out: str, err: str) -> None:
    for path, descriptor in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(variables)
    sys.argv = ["keras-skip", *command]

    from zoo.cli import main

    main()
