"""A step of an export that takes too long or too much memory ends with a sentence, and the process lives on."""

import os
import threading
import time

import numpy as np
import pytest

import export
from export import limits
from export.convert import conversion
from export.limits import enforce_limits
from tests.export.models import mlp


def forever(*_):
    while True:
        time.sleep(0.01)


def hoard(*_):
    held = []
    while True:
        held.append(np.ones(2**20))
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("name", "limit", "runs", "sentence"),
    [
        (limits.SECONDS, "4", forever, "took more than 4 seconds"),
        (limits.GIGABYTES, "0.2", hoard, "took more than 0.2 GB of memory"),
    ],
    ids=["time", "memory"],
)
def test_a_conversion_without_end_is_interrupted(name, limit, runs, sentence, tmp_path, monkeypatch):
    monkeypatch.setattr(conversion, "translate", runs)
    monkeypatch.setenv(name, limit)
    with pytest.raises(export.ExportError, match=f"Stopped the conversion of .*: it {sentence}"):
        export.to_onnx(mlp(), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert export.to_onnx(mlp(), tmp_path / "m.onnx").exists()


@pytest.mark.parametrize(
    ("name", "limit", "runs", "sentence"),
    [
        (limits.SECONDS, "2", "time.sleep(1000)", "it took more than 2 seconds"),
        (
            limits.GIGABYTES,
            "0.7",
            "numpy.ones(2**27) + (time.sleep(1000) or 0)",
            "it took more than 0.7 GB",
        ),
    ],
    ids=["time", "memory"],
)
def test_a_process_without_end_is_killed(name, limit, runs, sentence, artifact, tmp_path, monkeypatch):
    # Python imports a module of this name when it starts, here in the process that runs onnxruntime.
    (tmp_path / "sitecustomize.py").write_text(
        "import time, numpy, onnxruntime\n"
        f"def run(*_):\n    held = numpy.ones(2**27)\n    {runs}\n"
        "onnxruntime.InferenceSession.run = run\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv(name, limit)
    with pytest.raises(export.ExportError, match=f'Stopped the process for "onnxruntime, not optimised": {sentence}'):
        export.verify(artifact)


def test_what_ends_in_time_is_left_alone():
    threads = threading.active_count()
    with enforce_limits("nothing"):
        pass
    assert threading.active_count() == threads


def test_an_error_inside_stays_what_it_is():
    with pytest.raises(KeyError), enforce_limits("a look-up"):
        raise KeyError("x")


def test_what_catches_every_exception_is_interrupted_too(monkeypatch):
    monkeypatch.setenv(limits.SECONDS, "0.3")

    def stubborn():
        attempts = 0
        while attempts < 3:
            try:
                forever()
            except:  # noqa: E722 - the converter does it.
                attempts += 1
        forever()

    with pytest.raises(export.ExportError, match="0.3 seconds"), enforce_limits("it"):
        stubborn()


@pytest.mark.parametrize("value", ["soon", "0", "-1", "nan", ""])
def test_a_limit_that_is_no_number_is_refused(value, monkeypatch):
    monkeypatch.setenv(limits.SECONDS, value)
    with pytest.raises(ValueError, match=f"Expected KERAS_SKIP_MAX_SECONDS to be a number above 0. .*={value}"):
        limits.Limits.now()


def test_by_default_memory_is_what_is_free(monkeypatch, tmp_path):
    monkeypatch.setattr(limits, "_FREE", tmp_path / "meminfo")
    monkeypatch.setattr(limits, "_CONTAINER", tmp_path / "memory.max")
    assert limits.Limits.now() == limits.Limits(7200.0, float("inf"))
    (tmp_path / "meminfo").write_text("MemTotal: 99 kB\nMemAvailable:  10000000 kB\n")
    assert limits.Limits.now().gigabytes == pytest.approx(0.9 * 10.24)
    for limit, expected in (("max", 10.24), ("2000000000", 2)):
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        assert limits.Limits.now().gigabytes == pytest.approx(0.9 * expected)
