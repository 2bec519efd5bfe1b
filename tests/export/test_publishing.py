"""Publishing in one step, in processes that are killed."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import export
from export.storage import publishing
from export.storage.publishing import holds_only, publish

ROOT = Path(export.__file__).parents[1]

# Replaces an artifact over and over, each of its files with the same number in it.
WRITER = """
import itertools, sys
sys.path.insert(0, {root!r})
from export.storage import publishing
if {renames}:
    publishing._exchange = lambda *_: False
print("ready", flush=True)
for number in itertools.count():
    with publishing.publish({target!r}, True, lambda target: True) as folder:
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
            publishing._recover(target)
        assert len(content(target)) == 1
    with publish(target, True, lambda target: True) as folder:
        folder.mkdir()
    # What the killed processes were building is gone too.
    assert [p.name for p in tmp_path.iterdir()] == ["artifact"]


@pytest.mark.skipif(sys.platform != "linux", reason="Where the file system has no exchange, two renames do.")
def test_the_exchange_is_to_be_had_here(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "file").touch()
    assert publishing._exchange(tmp_path / "a", tmp_path / "b")
    assert [p.name for p in (tmp_path / "b").iterdir()] == ["file"]
    assert not publishing._exchange(tmp_path / "a", tmp_path / "missing")


def test_an_artifact_left_between_two_renames_is_put_back(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = tmp_path / f".artifact-{socket.gethostname()}+{dead.pid}-x"
    (left / "previous0").mkdir(parents=True)
    (left / "previous0" / "file").write_text("precious")
    with (
        pytest.raises(FileExistsError, match="overwrite=True"),
        publish(tmp_path / "artifact", False, lambda target: True),
    ):
        pass
    assert (tmp_path / "artifact" / "file").read_text() == "precious" and not left.exists()


def test_what_another_process_is_building_is_left_alone(tmp_path):
    building = tmp_path / f".artifact-{socket.gethostname()}+{os.getpid()}-x"
    building.mkdir()
    with publish(tmp_path / "artifact", False, lambda target: True) as file:
        file.write_text("new")
    assert building.exists()


def test_a_half_built_artifact_called_previous_is_not_put_back(tmp_path):
    target = tmp_path / "previous"
    code = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from export.storage import publishing
with publishing.publish({str(target)!r}, False, lambda target: True) as folder:
    folder.mkdir()
    os._exit(0)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    publishing._recover(target)
    assert list(tmp_path.iterdir()) == []


def in_threads(function, count: int) -> list[str]:
    """Runs function(i) in threads; the names of what each raised, sorted, and "" where it raised nothing."""
    outcomes = [""] * count

    def run(i: int) -> None:
        try:
            function(i)
        except Exception as error:
            outcomes[i] = type(error).__name__

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(outcomes)


def build(path: Path, kind: str, number: int) -> None:
    if kind == "file":
        path.write_text(str(number))
        return
    path.mkdir()
    for name in "abc":
        (path / name).write_text(str(number))


@pytest.fixture(params=["one step", "two"])
def steps(request, monkeypatch):
    """A file system where names can be exchanged, and taken if they are free, in one step; and one where not."""
    if request.param == "two":
        monkeypatch.setattr(publishing, "_rename", lambda *_: False)


@pytest.mark.usefixtures("steps")
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_only_the_first_of_several_is_published(kind, tmp_path):
    target, built = tmp_path / "target", threading.Barrier(4, timeout=10)

    def attempt(i):
        with publish(target, False, lambda target: True) as path:
            build(path, kind, i)
            built.wait()

    assert in_threads(attempt, 4) == ["", *["FileExistsError"] * 3]
    assert len(content(target) if kind == "folder" else {target.read_text()}) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["target"]


@pytest.mark.usefixtures("steps")
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_several_that_overwrite_leave_one_of_them_whole(kind, tmp_path):
    target, built = tmp_path / "target", threading.Barrier(6, timeout=10)

    def attempt(i):
        for _ in range(20):
            with publish(target, True, lambda target: True) as path:
                build(path, kind, i)
                built.wait()

    assert in_threads(attempt, 6) == [""] * 6
    assert len(content(target) if kind == "folder" else {target.read_text()}) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["target"]


@pytest.mark.usefixtures("steps")
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_comes_to_be_in_the_meantime_stays(kind, tmp_path):
    target = tmp_path / "target"
    with (
        pytest.raises(FileExistsError, match="is or contains something else"),
        publish(target, True, lambda target: False) as path,
    ):
        build(path, kind, 0)
        target.mkdir()
    assert list(target.iterdir()) == []


def test_a_folder_holds_only_what_its_patterns_name(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("x.pb", "a/b/y", "a/.DS_Store"):
        (tmp_path / name).touch()
    assert holds_only(tmp_path, "x.pb", "a/*")
    assert not holds_only(tmp_path, "x.pb", "b/*")
    (tmp_path / "a" / "link").symlink_to(tmp_path)  # to a folder
    assert holds_only(tmp_path, "x.pb", "a/*") and not holds_only(tmp_path, "x.pb", "a/b/*")


@pytest.mark.usefixtures("steps")
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_link_stays_and_what_it_leads_to_is_written(kind, tmp_path):
    link, target = tmp_path / "link", tmp_path / "deeper" / "target"
    link.symlink_to(target)
    for number, overwrite in ((1, False), (2, True)):
        with publish(link, overwrite, lambda target: True) as path:
            build(path, kind, number)
        assert link.is_symlink() and not target.is_symlink()
        assert (content(link) if kind == "folder" else {link.read_text()}) == {str(number)}
    with pytest.raises(FileExistsError, match="overwrite=True"), publish(link, False, lambda target: True):
        pass


@pytest.mark.usefixtures("steps")
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_name_that_another_takes_at_that_moment_is_not_taken_from_it(kind, monkeypatch, tmp_path):
    for number, name in enumerate(("new", "target")):
        build(tmp_path / name, kind, number)
    # As if the target had come to be right after it was looked for.
    monkeypatch.setattr("os.path.lexists", lambda path: False)
    assert not publishing.take_name(tmp_path / "new", tmp_path / "target")
    for number, name in enumerate(("new", "target")):
        path = tmp_path / name
        assert (content(path) if kind == "folder" else {path.read_text()}) == {str(number)}


def test_a_link_to_itself_is_refused(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "link")
    with pytest.raises(FileExistsError), publish(tmp_path / "link", False, lambda target: True):
        pass


@pytest.mark.parametrize("name", ["a" * 255, "\u00e4" * 127], ids=["ASCII", "umlauts"])
def test_a_name_may_be_as_long_as_the_file_system_takes_it(name, tmp_path):
    for number, overwrite in ((1, False), (2, True)):
        with publish(tmp_path / name, overwrite, lambda target: True) as path:
            build(path, "folder", number)
    assert content(tmp_path / name) == {"2"} and len(list(tmp_path.iterdir())) == 1
