"""What happens to a run that exists when another is trained in its folder."""

import json
import shutil
from pathlib import Path

import keras
import pytest

import zoo
from zoo.training.folder import choose_folder
from zoo.training.runs import commit_run

pytestmark = pytest.mark.usefixtures("no_report")
SHALLOW = {"arguments.depth": 3}


def test_existing_folder_is_refused_and_left_alone(run, small_source):
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    with pytest.raises(FileExistsError, match="plain. already exists. Choose another folder"):
        zoo.train("plain_mlp_digits", small_source, run.path, epochs=1)
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


def test_overwrite_replaces_a_run(small_source, tmp_path):
    for epochs in (2, 1):
        run = zoo.train("plain_mlp_digits", small_source, tmp_path / "run", epochs=epochs, overwrite=True, **SHALLOW)
        assert run == zoo.open_run(tmp_path / "run") and run.status == "complete"
    assert len((tmp_path / "run" / "history.csv").read_text().splitlines()) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_overwrite_keeps_what_is_not_the_runs(run, small_source, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run.path, folder)
    (folder / "gates").mkdir()
    for name in ("notes.txt", "gates/gates.svg", "speed.json"):
        (folder / name).write_text("old")
    shutil.copytree(folder / "gates", folder / "export")

    class Notes(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            (tmp_path / "run.new" / "notes.txt").write_text("new")

    with pytest.raises(zoo.TrainingError):
        zoo.train("plain_mlp_digits", small_source, folder, overwrite=True, epochs=1, callbacks=[Notes(), FullDisk()])
    (tmp_path / "run.new" / "more.txt").write_text("new")
    new = zoo.train("plain_mlp_digits", small_source, folder, overwrite=True, epochs=1, callbacks=[Notes()], **SHALLOW)
    names = {path.name for path in folder.iterdir()} - {path.name for path in run.path.iterdir()}
    assert names == {"notes.txt", "notes.txt.old", "more.txt", "gates"}
    assert [(folder / name).read_text() for name in sorted(names - {"gates"})] == ["new", "new", "old"]
    assert (folder / "gates" / "gates.svg").read_text() == "old"
    assert new == zoo.open_run(folder) and [path.name for path in tmp_path.iterdir()] == ["run"]


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


class FullDisk(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        raise OSError(28, "No space left on device")


def test_a_run_stays_until_the_one_that_replaces_it_is_complete(run, small_source, tmp_path):
    folder, beside = tmp_path / "run", tmp_path / "run.new"
    shutil.copytree(run.path, folder)
    before = content(folder)
    for wrong in ({"optimizer.lr": 1e30}, {"callbacks": [FullDisk()]}):
        with pytest.raises(zoo.TrainingError):
            zoo.train("plain_mlp_digits", small_source, folder, overwrite=True, epochs=2, **SHALLOW, **wrong)
        assert content(folder) == before
        assert zoo.open_run(beside).status == "failed"
    run = zoo.resume(beside, small_source)
    assert run == zoo.open_run(folder) and run.status == "complete" and run.epochs_done == 2
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("moved", ["neither", "old", "both"])
def test_a_move_that_was_cut_off_is_finished(run, tmp_path, moved):
    folder, beside = tmp_path / "run", tmp_path / "run.new"
    shutil.copytree(run.path, folder)
    shutil.copytree(folder, beside)
    record = json.loads((beside / "run.json").read_text()) | {"replaces": "run"}
    (beside / "run.json").write_text(json.dumps(record))
    (beside / "new.txt").touch()
    if moved != "neither":
        folder.rename(beside / ".replaced")
    if moved == "both":
        beside.rename(folder)
    run = zoo.resume(folder if moved == "both" else beside)
    assert run == zoo.open_run(folder) and "replaces" not in run.record
    assert (folder / "new.txt").is_file() and not (folder / ".replaced").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_where_a_run_is_trained_that_replaces_another(run, tmp_path, monkeypatch):
    beside = run.path.with_name(f"{run.path.name}.new")
    (tmp_path / "link").symlink_to(run.path)
    monkeypatch.chdir(run.path)
    assert {choose_folder(Path(given), overwrite=True) for given in (run.path, tmp_path / "link", ".")} == {beside}
    assert choose_folder(tmp_path / "other", overwrite=True) == tmp_path / "other"
    monkeypatch.setattr("os.path.ismount", lambda path: True)
    with pytest.raises(FileExistsError, match="is a mount point"):
        choose_folder(run.path, overwrite=True)


def test_only_the_process_that_writes_moves_a_run(run, tmp_path, monkeypatch):
    shutil.copytree(run.path, tmp_path / "copy")
    copy = zoo.Run(tmp_path / "copy", {**run.record, "replaces": "run"})
    monkeypatch.setenv("KERAS_DISTRIBUTION_PROCESS_ID", "1")
    assert commit_run(copy) == copy and [path.name for path in tmp_path.iterdir()] == ["copy"]
    monkeypatch.setenv("KERAS_DISTRIBUTION_PROCESS_ID", "0")
    assert commit_run(copy) == zoo.open_run(tmp_path / "run") and [path.name for path in tmp_path.iterdir()] == ["run"]


def test_what_is_beside_a_run_and_is_not_to_replace_it_stays(run, small_source, tmp_path):
    shutil.copytree(run.path, tmp_path / "run")
    shutil.copytree(tmp_path / "run", tmp_path / "run.new")
    before = content(tmp_path)
    with pytest.raises(FileExistsError, match="run.new. is in the way"):
        zoo.train("plain_mlp_digits", small_source, tmp_path / "run", epochs=1, overwrite=True)
    assert content(tmp_path) == before


@pytest.mark.parametrize("wrong", [{"checkpoint_steps": 0}, {"checkpoint_steps": 2.5}, {"checkpoint_minutes": -1}])
def test_wrong_interval_of_checkpoints_leaves_the_run_that_is_there(run, small_source, wrong):
    ((name, value),) = wrong.items()
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    with pytest.raises(ValueError, match=f"Expected {name} to be .* Received: {name}={value}"):
        zoo.train("plain_mlp_digits", small_source, run.path, overwrite=True, **wrong)
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


def test_overwrite_removes_nothing_but_a_run(small_source, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="Expected a run to overwrite"):
        zoo.train("plain_mlp_digits", small_source, tmp_path, epochs=1, overwrite=True)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
