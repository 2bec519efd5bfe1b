"""A process that calls functions for this one until it is closed, with environment variables of its own.

A request is the name of a function, MODULE:FUNCTION in this package, and its arguments. Requests and answers are
pickled: both ends run the same code for the same user, and nobody else can write into the pipes between them.
"""

import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any

from ..errors import ExportError, error_line
from ..limits import watch_process
from .processes import describe_exit, worker_environment

_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from {package}.companion import main; main()"
_PACKAGE = __package__.rpartition(".")[0]
_SECONDS = 5  # that it has to end after it closed its pipes


class Companion:
    """A process that answers requests until it is closed.

    If it dies, the request that notices fails, and the one after that starts a new process.

    Args:
        name: Its name in error messages.
        environment: Variables to set in it.
    """

    def __init__(self, name: str, environment: Mapping[str, str]) -> None:
        self._name = name
        self._environment = dict(environment)
        self._closed = False
        self._start()

    def _start(self) -> None:
        self._said = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        command = [sys.executable, "-c", _START.format(package=__package__), json.dumps(sys.path)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env=worker_environment() | self._environment,
        )

    def ask(self, function: str, **arguments: Any) -> Any:
        """Calls a function in that process, and returns its result.

        Args:
            function: MODULE:FUNCTION in this package.
            arguments: Its arguments.

        Raises:
            ExportError: If the function raises an error, the process dies or it exceeds a limit.
        """
        if self._closed:
            raise ExportError(f"Expected {self._name} to be open. Received: a request after it was closed")
        if self._process.returncode is not None:
            self._end()
            self._start()
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        exceeded: list[str] = []
        try:
            with watch_process(process.pid, process.kill) as exceeded:
                pickle.dump((function, arguments), process.stdin)
                process.stdin.flush()
                done, answer = pickle.load(process.stdout)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError) as error:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_SECONDS)
            # What it wrote is no answer, but it lives.
            process.kill()
            process.wait()
            if exceeded:
                raise ExportError(f"Stopped {self._name}: it took {exceeded[0]}.") from error
            raise ExportError(f"{self._name} {describe_exit(process.returncode, self._read_said())}") from error
        except BaseException:
            # After an interruption the next request would read the answer to this one.
            process.kill()
            process.wait()
            raise
        if not done:
            raise answer
        return answer

    def _read_said(self) -> str:
        self._said.seek(0)
        return self._said.read()

    def close(self) -> None:
        """Ends the process."""
        self._closed = True
        self._end()

    def _end(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._said.close()


def main() -> None:
    """Answers requests until there are no more. What the functions print goes to stderr."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    while True:
        try:
            function, arguments = pickle.load(requests)
        except EOFError:
            return
        answer: tuple[bool, Any]
        try:
            module, name = function.split(":")
            answer = True, getattr(import_module(f"{_PACKAGE}.{module}"), name)(**arguments)
        except ExportError as error:
            answer = False, ExportError(str(error))
        except Exception as error:  # The caller's model may raise anything.
            answer = False, ExportError(error_line(error))
        try:
            written = pickle.dumps(answer)
        except Exception as error:  # An answer may hold anything.
            written = pickle.dumps((False, ExportError(error_line(error))))
        answers.write(written)
        answers.flush()
