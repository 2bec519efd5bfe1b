"""The process beside this one: answers, errors, its death, and the end of patience."""

import io
import os
import signal
from pathlib import Path

import pytest

from export import ExportError
from export.runtime.companion import Companion

ENDLESS = Path("/dev/zero")


@pytest.fixture
def companion():
    beside = Companion("The process on Mars", {"ANSWER": "42"})
    yield beside
    beside.close()


def is_running(companion):
    return companion._process.poll() is None


def test_it_answers_request_after_request_and_passes_errors_on(companion, tmp_path):
    for text in ("a", "b"):
        assert companion.ask("errors:error_line", error=ValueError(text)) == f"ValueError: {text}"
    with pytest.raises(ExportError, match="FileNotFoundError: .*absent.json"):
        companion.ask("storage.safety:read_json", path=tmp_path / "absent.json")
    with pytest.raises(ExportError, match="cannot pickle"):
        companion.ask("runtime.sessions:memory_saving_options")
    assert companion.ask("limits:_read_environment", name="ANSWER", default=1.0) == 42


class Call:
    """Becomes, where it arrives, what a function returns there."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def test_what_functions_print_and_read_does_not_mix_with_requests_and_answers(companion, monkeypatch):
    monkeypatch.setenv("KERAS_SKIP_MAX_SECONDS", "60")
    for call, answer in ((Call(os.write, 1, b"hello"), "int: 5"), (Call(os.read, 0, 1), "bytes: b''")):
        assert companion.ask("errors:error_line", error=call) == answer


def test_what_is_closed_answers_no_more(companion):
    companion.close()
    with pytest.raises(ExportError, match="The process on Mars to be open. Received: a request after it was closed"):
        companion.ask("errors:error_line", error=ValueError("a"))
    assert not is_running(companion)


def test_garbage_instead_of_an_answer_ends_it(companion, monkeypatch):
    monkeypatch.setattr("export.runtime.companion._SECONDS", 0.1)
    monkeypatch.setattr(companion._process, "stdout", io.BytesIO(b"hello"))
    with pytest.raises(ExportError, match="The process on Mars died of SIGKILL"):
        companion.ask("errors:error_line", error=ValueError("a"))


def test_its_death_gives_a_one_line_error(companion):
    companion.ask("errors:error_line", error=ValueError("a"))
    companion._process.kill()
    with pytest.raises(ExportError, match="The process on Mars died of SIGKILL"):
        companion.ask("errors:error_line", error=ValueError("b"))


@pytest.mark.filterwarnings("error")
def test_after_a_request_that_failed_the_next_starts_a_process_with_the_same_environment(companion):
    for _ in range(2):
        companion._process.kill()
        with pytest.raises(ExportError, match="died of SIGKILL"):
            companion.ask("errors:error_line", error=ValueError("b"))
        assert companion.ask("limits:_read_environment", name="ANSWER", default=1.0) == 42


def test_what_it_wrote_before_it_died_is_quoted():
    beside = Companion("The process on Mars", {"PYTHONHOME": "/absent"})
    with pytest.raises(ExportError, match="(?s)The process on Mars ended with exit code 1, and .*No module named"):
        beside.ask("errors:error_line", error=ValueError("a"))
    beside.close()


def test_it_is_stopped_at_a_limit(companion, monkeypatch):
    monkeypatch.setenv("KERAS_SKIP_MAX_SECONDS", "0.001")
    with pytest.raises(ExportError, match=r"Stopped The process on Mars: it took more than 0.001 seconds"):
        companion.ask("storage.manifest:hash_file", path=ENDLESS)
    assert not is_running(companion)


def test_an_interruption_ends_it(companion):
    # SIGINT itself is ignored in a process that a shell started in the background.
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    with pytest.raises(KeyboardInterrupt):
        companion.ask("storage.manifest:hash_file", path=ENDLESS)
    signal.signal(signal.SIGALRM, before)
    assert companion._process.returncode == -signal.SIGKILL
    assert companion.ask("errors:error_line", error=ValueError("a")) == "ValueError: a"
