"""Predictions on Ray Data: real workers, one of which is killed while both compute."""

import contextlib
import csv
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import export
from tests.export.models import RAW, conv_net, images
from tests.export.ray_actors import actors_of

ROOT = Path(export.__file__).parents[1]
PATIENCE = 400
needs_ray = pytest.mark.skipif(
    not (find_spec("ray") and find_spec("pyarrow") and find_spec("pandas")), reason="Ray Data is not installed"
)
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found as Linux tells them")
# The first rows are written so slowly that a worker is killed before most are computed.
SCRIPT = """
import sys, time, ray
import export
ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
export.predict_files(
    sys.argv[1], ["photos", "x.npy"], "ray.csv", batch_size=8, on_bad_input="skip", ray="local",
    progress=lambda rows, *_: time.sleep(0.05 if rows < 100 else 0),
)
assert ray.is_initialized()
"""


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def rows_done():
    with contextlib.suppress(FileNotFoundError):
        return Path("ray.csv.part").read_bytes().count(b"\n") - 1
    return 0


@needs_ray
@needs_proc
def test_a_worker_that_is_killed_loses_and_doubles_no_row(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = {"preprocessing": RAW, "labels": list("abcd"), "activation": "softmax", "formats": "onnx"}
    export.export(conv_net(), "artifact", device="cpu", batch_sizes=(1, 2), **made)
    Path("photos").mkdir()
    for number, pixels in enumerate(images(40)):
        Image.fromarray(pixels).save(f"photos/{number:02}.png")
    Path("photos/20.png").write_bytes(b"no image")
    np.save("x.npy", images(5_960, seed=1))
    export.predict_files("artifact", ["photos", "x.npy"], "here.csv", batch_size=8, on_bad_input="skip")
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
    with subprocess.Popen([sys.executable, "-c", SCRIPT, "artifact"], env=variables) as process:
        try:
            end = time.monotonic() + PATIENCE
            while rows_done() < 40:
                assert process.poll() is None and time.monotonic() < end
                time.sleep(0.01)
            before = actors_of(process.pid, b"ray::MapWorker")
            assert len(before) == 2
            os.kill(min(before), signal.SIGKILL)
            assert rows_done() < 5_000  # it was killed on the way
            assert process.wait(PATIENCE) == 0
        finally:
            process.terminate()
    found, expected = rows_of("ray.csv"), rows_of("here.csv")
    assert [(row[0], row[1], row[3]) for row in found] == [(row[0], row[1], row[3]) for row in expected]
    assert len(found) == 6_001 and found[21][3] != ""
    numbers = [[float(row[2] or 0) for row in rows[1:]] for rows in (found, expected)]
    np.testing.assert_allclose(*numbers, atol=1e-6)


def test_without_ray_it_is_a_sentence(small_artifact, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "ray", None)
    np.save("x.npy", np.zeros((2, 3, 4, 3), "uint8"))
    with pytest.raises(ValueError, match="Expected Ray Data to be installed"):
        export.predict_files(small_artifact, "x.npy", "out.csv", ray="local")
    assert not list(tmp_path.glob("out*"))
