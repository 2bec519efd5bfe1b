"""Where the files of onnxruntime-web come from."""

import shutil
from pathlib import Path

import pytest

import export
from export.targets import npm
from export.targets.target import Unavailable
from tests.export.models import mlp


@pytest.fixture
def runtime():
    try:
        return npm.find_runtime()
    except Unavailable as missing:
        pytest.skip(str(missing))


def test_a_package_from_a_path_must_have_the_hash_of_npm(monkeypatch, runtime, tmp_path):
    folder = Path(shutil.copytree(runtime, tmp_path / "dist"))
    monkeypatch.setenv(npm.LOCAL, str(folder))
    assert npm.find_runtime() == folder
    with (folder / "ort.wasm.min.mjs").open("a") as file:
        file.write("// changed")
    with pytest.raises(Unavailable, match="where some are missing or different"):
        npm.find_runtime()
    (tmp_path / "package.tgz").write_bytes(b"another package")
    monkeypatch.setenv(npm.LOCAL, str(tmp_path / "package.tgz"))
    monkeypatch.setenv("KERAS_SKIP_CACHE", str(tmp_path / "cache"))
    with pytest.raises(Unavailable, match=f"Expected onnxruntime-web {npm.VERSION} with the hash sha512-q0y"):
        npm.find_runtime()
    monkeypatch.setenv(npm.LOCAL, str(tmp_path / "nothing.tgz"))
    with pytest.raises(Unavailable, match="No such file"):
        npm.find_runtime()
    assert not (tmp_path / "cache").exists()


def test_files_in_the_cache_that_are_not_npm_s_are_downloaded_again(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_SKIP_CACHE", str(tmp_path))
    monkeypatch.delenv(npm.LOCAL, raising=False)
    monkeypatch.setattr(npm.shutil, "which", lambda name: None)
    folder = tmp_path / npm.PACKAGE / npm.VERSION
    folder.mkdir(parents=True)
    for name in npm.FILES:
        (folder / name).write_bytes(b"another program")
    with pytest.raises(Unavailable, match="no npm, and nothing in the cache"):
        npm.find_runtime()


def test_a_missing_npm_is_reported_before_the_export_starts(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_SKIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(npm.LOCAL, raising=False)
    monkeypatch.setattr(npm.shutil, "which", lambda name: None)
    with pytest.raises(export.ExportError, match="The target web needs npm"):
        export.export(mlp(), tmp_path / "never", targets="web")
    assert not (tmp_path / "never").exists()
