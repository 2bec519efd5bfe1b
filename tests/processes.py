"""Processes of their own, as a shell starts them.

TensorFlow takes seconds to import, and imports Keras. So those on this backend are forked from one process that has
imported it and done nothing else. On other backends, or with `fresh`, a new Python begins from nothing.
"""

import functools
import multiprocessing
import os
import runpy
import shutil
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

ROOT = Path(__file__).parents[1]
PATIENCE = 300
# JAX compiles every operation for every shape, and each then runs a few times: to optimise it costs more than it saves.
# What one process has compiled, the others read.
QUICK_JAX = {
    "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
    "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".pytest_cache" / "jax"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}


def keras_skip(*arguments: object, cwd: Path, expect: int = 0, fresh: bool = False, **environment: str) -> Any:
    """Runs the command, and returns its `stdout` and `stderr`; standard error is that of the process, C++ included."""
    environment = {"COLUMNS": "160", **environment}
    command = [str(argument) for argument in arguments]
    if fresh:
        whole = [sys.executable, "-m", "zoo.cli", *command]
        variables = _variables(environment)
        done = subprocess.run(whole, cwd=cwd, env=variables, capture_output=True, text=True, timeout=PATIENCE)
    else:
        done = start_command(*command, cwd=cwd, **environment).wait()
    assert done.returncode == expect, done.stderr
    assert "Traceback" not in done.stderr
    return done


def start(target: Callable[..., None], *arguments: Any, cwd: Path, **environment: str) -> "Process":
    """Starts a function of a module, in a folder and with variables of its environment."""
    return Process(target, arguments, cwd, _variables(environment))


def start_command(*arguments: object, cwd: Path, **environment: str) -> "Process":
    """Starts `keras-skip`."""
    return start(_command_line, [str(argument) for argument in arguments], cwd=cwd, **environment)


def start_script(path: Path, *arguments: object, cwd: Path, **environment: str) -> "Process":
    """Starts a file of Python, as `python FILE ARGUMENTS` does."""
    return start(_script, str(path), [str(argument) for argument in arguments], cwd=cwd, **environment)


def run_code(code: str, *arguments: object, cwd: Path, **environment: str) -> str:
    """Runs code, as `python -c` does, and returns what it prints."""
    done = start(_code, code, [str(argument) for argument in arguments], cwd=cwd, **environment).wait()
    assert done.returncode == 0, done.stderr
    return done.stdout


class Process:
    """A process that was forked; what it writes is in two files."""

    def __init__(self, target: Callable[..., None], arguments: tuple, cwd: Path, variables: dict[str, str]) -> None:
        folder = Path(mkdtemp())
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._out, self._err = folder / "out", folder / "err"
        streams = str(self._out), str(self._err)
        context = _forkserver() if variables["KERAS_BACKEND"] == "tensorflow" else multiprocessing.get_context("spawn")
        self._process = context.Process(target=_begin, args=(target, arguments, str(cwd), variables, streams))
        self._process.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait(self, timeout: float = PATIENCE) -> subprocess.CompletedProcess:
        """Waits for its end, and returns its exit code and what it wrote."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            self.kill()
            raise TimeoutError(f"The process ran for longer than {timeout} seconds. It wrote: {self._err.read_text()}")
        return subprocess.CompletedProcess((), self._process.exitcode, self._out.read_text(), self._err.read_text())

    def wait_for(self, text: str, timeout: float = PATIENCE) -> None:
        """Waits until it has printed a text."""
        end = time.monotonic() + timeout
        while not self._out.exists() or text not in self._out.read_text():
            assert self._process.is_alive() and time.monotonic() < end, self._err.read_text()
            time.sleep(0.02)

    def is_running(self) -> bool:
        return self._process.is_alive()

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


@functools.cache
def _forkserver() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tensorflow"])
    return context


def _variables(environment: dict[str, str]) -> dict[str, str]:
    """Those of this process, but for the settings of TensorFlow, which are for the tests alone."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("TF_", "GRPC_"))}
    variables = kept | {"PYTHONPATH": str(ROOT), "KERAS_BACKEND": "tensorflow", **environment}
    return QUICK_JAX | variables if variables["KERAS_BACKEND"] == "jax" else variables


def _begin(
    target: Callable[..., None], arguments: tuple, cwd: str, variables: dict[str, str], streams: tuple[str, str]
) -> None:
    for path, descriptor in zip(streams, (1, 2), strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(variables)
    target(*arguments)


def _command_line(arguments: list[str]) -> None:
    sys.argv = ["keras-skip", *arguments]
    from zoo.cli import main

    main()


def _script(path: str, arguments: list[str]) -> None:
    sys.argv = [path, *arguments]
    runpy.run_path(path, run_name="__main__")


def _code(code: str, arguments: list[str]) -> None:
    sys.argv = ["-c", *arguments]
    exec(compile(code, "<code>", "exec"), {"__name__": "__main__"})
