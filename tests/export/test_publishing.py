"""Publishing in one step, in processes that are killed."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import export
from export import _publish
from export._publish import published

ROOT = Path(export.__file__).parents[1]

# Replaces an artifact over and over, each of its files with the same number in it.
WRITER = """
import itertools, sys
sys.path.insert(0, {root!r})
from export import _publish
if {renames}:
    _publish._exchanged = lambda *_: False
print("ready", flush=True)
for number in itertools.count():
    with _publish.published({target!r}, True, lambda target: True) as folder:
        folder.mkdir()
        for name in "abc":
            (folder / name).write_text(str(number))
"""


def content(target: Path) -> set[str]:
    return {(target / name).read_text() for name in "abc"}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither the exchange nor the signal.")
@pytest.mark.parametrize("renames", [False, True], ids=["exchange", "renames"])
def test_a_killed_process_leaves_the_old_artifact_or_the_new_one(renames, tmp_path):
    target = tmp_path / "artifact"
    target.mkdir()
    for name in "abc":
        (target / name).write_text("first")
    code = WRITER.format(root=str(ROOT), target=str(target), renames=renames)
    for wait in (0.0, 0.003, 0.011, 0.03, 0.05):
        writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        try:
            assert writer.stdout.readline() == b"ready\n"
            time.sleep(wait)
        finally:
            writer.send_signal(signal.SIGKILL)
            writer.communicate()
        if renames:
            _publish._clear_up(target)
        assert len(content(target)) == 1
    with published(target, True, lambda target: True) as folder:
        folder.mkdir()
    # What the killed processes were building is gone too.
    assert [p.name for p in tmp_path.iterdir()] == ["artifact"]


@pytest.mark.skipif(sys.platform != "linux", reason="Where the file system has no exchange, two renames do.")
def test_the_exchange_is_to_be_had_here(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "file").touch()
    assert _publish._exchanged(tmp_path / "a", tmp_path / "b")
    assert [p.name for p in (tmp_path / "b").iterdir()] == ["file"]
    assert not _publish._exchanged(tmp_path / "a", tmp_path / "missing")


def test_an_artifact_left_between_two_renames_is_put_back(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = tmp_path / f".artifact-{socket.gethostname()}+{dead.pid}-x"
    (left / "previous").mkdir(parents=True)
    (left / "previous" / "file").write_text("precious")
    with (
        pytest.raises(FileExistsError, match="overwrite=True"),
        published(tmp_path / "artifact", False, lambda target: True),
    ):
        pass
    assert (tmp_path / "artifact" / "file").read_text() == "precious" and not left.exists()


def test_what_another_process_is_building_is_left_alone(tmp_path):
    building = tmp_path / f".artifact-{socket.gethostname()}+{os.getpid()}-x"
    building.mkdir()
    with published(tmp_path / "artifact", False, lambda target: True) as file:
        file.write_text("new")
    assert building.exists()
