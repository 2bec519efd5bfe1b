"""`keras-skip cache`: what is listed, what is removed, and what is left alone."""

import csv
import itertools
import os
import time

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import zoo
from zoo.cli import app
from zoo.cli.commands.caching import size
from zoo.data import cached


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The cache after two folders were read, one of them in two ways."""
    monkeypatch.setenv("KERAS_SKIP_CACHE", str(tmp_path / "cache"))
    for name, part in itertools.product(("photos", "others"), ("train/a/1", "train/b/2", "test/a/3", "test/b/4")):
        path = tmp_path / name / f"{part}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((8, 8), "uint8")).save(path)
    for name, image_size in (("photos", None), ("photos", (4, 4)), ("others", None)):
        zoo.load_source(tmp_path / name, image_size=image_size)
    return tmp_path / "cache" / "sources"


def run(*arguments, answer=None):
    return CliRunner().invoke(app, ["cache", *arguments], input=answer)


def names(cache):
    return sorted(path.name.rpartition("-")[0] for path in cache.iterdir())


def test_what_is_cached_is_listed_with_source_size_and_last_use(cache, tmp_path):
    rows = list(csv.DictReader(run("--format", "csv").output.splitlines()))
    assert sorted(row["source"] for row in rows) == [str(tmp_path / name) for name in ("others", "photos", "photos")]
    for row in rows:
        files = list((cache / row["name"]).iterdir())
        assert int(row["bytes"]) == sum(file.stat().st_size for file in files) > 0 and row["complete"] == "True"
    shown = run().output
    assert all(row["name"] in shown and size(int(row["bytes"])) in shown for row in rows) and str(cache) in shown


def test_reading_counts_as_use(cache, tmp_path):
    for path in cache.glob("*/source.json"):
        os.utime(path, (1, 1))
    zoo.load_source(tmp_path / "others")
    first, *others = cached.list_cached()
    assert first.path.name.startswith("others-") and time.time() - first.used < 60
    assert {other.used for other in others} == {1}


def test_clear_removes_what_was_named_and_it_can_be_read_again(cache, tmp_path):
    source = zoo.load_source(tmp_path / "photos")
    assert "2" in run("clear", "photos", "--yes").output and names(cache) == ["others"]
    # What is mapped stays, until the process ends.
    assert source.train_inputs[:].max() == 0
    zoo.load_source(tmp_path / "photos")
    assert names(cache) == ["others", "photos"]
    (one,) = (path.name for path in cache.glob("photos-*"))
    run("clear", one, "--yes")
    assert names(cache) == ["others"]


@pytest.mark.parametrize(("answer", "left"), [("y\n", 0), ("n\n", 3), ("", 3)])
def test_clear_asks(cache, answer, left):
    done = run("clear", "--all", answer=answer)
    assert len(list(cache.iterdir())) == left and (done.exit_code == 0) == (left == 0)
    assert "Remove " in done.output


def test_what_another_process_is_writing_is_left_alone(cache):
    writing = cache / ".photos-0123456789abcdef-01234567"
    writing.mkdir()
    for name in ("images.npy", "source.json"):
        (writing / name).write_text("{}")
    assert "(unfinished)" in run().output
    refused = run("clear", writing.name, "--yes")
    assert "Expected decoded images that no process is writing" in str(refused.exception) and writing.exists()
    run("clear", "--all", "--yes")
    assert list(cache.iterdir()) == [writing]
    hours_ago = time.time() - 2 * cached.ABANDONED_SECONDS
    for path in writing.iterdir():
        os.utime(path, (hours_ago, hours_ago))
    run("clear", "--all", "--yes")
    assert list(cache.iterdir()) == []


def test_there_is_no_cache_yet(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_SKIP_CACHE", str(tmp_path / "nowhere"))
    assert "0 bytes" in run().output
    assert run("clear", "--all").exit_code == 0 and not (tmp_path / "nowhere").exists()


def test_name_is_refused_where_the_cache_is_empty(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_SKIP_CACHE", str(tmp_path))
    done = CliRunner().invoke(app, ["cache", "clear", "photos"])
    assert str(done.exception) == "Expected a name in the cache, but there are none. Received: 'photos'"


def test_an_older_record_and_a_file_of_somebody_elses_are_no_obstacle(cache):
    (cache / "notes.txt").write_text("mine")
    for record in cache.glob("*/source.json"):
        record.write_text("[]")
    assert [found.source for found in cached.list_cached()] == ["", "", ""]
    run("clear", "--all", "--yes")
    assert [path.name for path in cache.iterdir()] == ["notes.txt"]


def test_sizes_read_well():
    assert [size(n) for n in (0, 999, 1_000, 40_600_000, 3_000_000_000)] == [
        "0 bytes",
        "999 bytes",
        "1.0 kB",
        "40.6 MB",
        "3.0 GB",
    ]
