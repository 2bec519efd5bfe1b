"""An ONNX file and the weights beside it are published together: all or nothing, and nothing stale stays."""

import errno
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.storage import onnx_files, onnx_publishing
from export.storage.onnx_publishing import publish_onnx


@pytest.fixture(autouse=True)
def small_messages(monkeypatch):
    monkeypatch.setattr(onnx_files, "LARGEST", 5_000)


def write(path: Path, value: float, large: bool, overwrite: bool = False) -> None:
    """Publishes a model with one array of weights."""
    with publish_onnx(path, overwrite) as building:
        array = np.full(2_000 if large else 2, value, "float32")
        tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy"]
        node = helper.make_node("Add", ["x", "w"], ["y"])
        graph = helper.make_graph([node], "graph", tensors[:1], tensors[1:], [numpy_helper.from_array(array, "w")])
        onnx_files.save_model(helper.make_model(graph), building)


def value(path: Path) -> float:
    return float(numpy_helper.to_array(onnx.load(path).graph.initializer[0])[0])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


PAIR = ["m.onnx", "m.onnx.data"]


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("after", [True, False])
def test_overwriting_replaces_both_and_leaves_nothing_stale(before, after, tmp_path):
    write(tmp_path / "m.onnx", 1, before)
    assert names(tmp_path) == (PAIR if before else PAIR[:1])
    write(tmp_path / "m.onnx", 2, after, overwrite=True)
    assert names(tmp_path) == (PAIR if after else PAIR[:1]) and value(tmp_path / "m.onnx") == 2


def test_without_overwrite_both_stay_as_they_are(tmp_path):
    write(tmp_path / "m.onnx", 1, True)
    with pytest.raises(FileExistsError):
        write(tmp_path / "m.onnx", 2, True)
    assert names(tmp_path) == PAIR and value(tmp_path / "m.onnx") == 1


@pytest.mark.parametrize("there", [True, False])
def test_a_name_that_is_taken_meanwhile_takes_no_weights_along(there, tmp_path, monkeypatch):
    """The target appears, or turns into a folder, after the weights are in place."""
    if there:
        write(tmp_path / "m.onnx", 1, True)
    place = onnx_publishing._place

    def place_late(built, target):
        placed = place(built, target)
        target.unlink(missing_ok=True)
        target.mkdir()
        return placed

    monkeypatch.setattr(onnx_publishing, "_place", place_late)
    with pytest.raises(FileExistsError):
        write(tmp_path / "m.onnx", 2, True, overwrite=there)
    assert names(tmp_path) == (PAIR if there else PAIR[:1]) and list((tmp_path / "m.onnx").iterdir()) == []


@pytest.mark.parametrize("step", ["link", "unlink"])
def test_at_every_step_the_file_and_its_weights_belong_together(step, tmp_path, monkeypatch):
    write(tmp_path / "m.onnx", 1, True)
    seen, act = [], getattr(os, step)

    def watch(*arguments, **keywords):
        seen.append(value(tmp_path / "m.onnx"))
        return act(*arguments, **keywords)

    monkeypatch.setattr(os, step, watch)
    write(tmp_path / "m.onnx", 2, True, overwrite=True)
    assert seen and set(seen) <= {1, 2} and value(tmp_path / "m.onnx") == 2 and names(tmp_path) == PAIR


def test_a_file_of_somebody_else_stays(tmp_path):
    (tmp_path / "m.onnx.data").write_text("mine")
    write(tmp_path / "m.onnx", 1, True)
    write(tmp_path / "m.onnx", 2, True, overwrite=True)
    write(tmp_path / "m.onnx", 3, False, overwrite=True)
    assert names(tmp_path) == PAIR and (tmp_path / "m.onnx.data").read_text() == "mine"
    assert value(tmp_path / "m.onnx") == 3


def test_weights_that_other_files_may_share_stay(tmp_path):
    write(tmp_path / "m.onnx", 1, True)
    model = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    onnx_publishing._name_weights(model.graph, "shared.data")
    onnx.save(model, tmp_path / "m.onnx")
    (tmp_path / "m.onnx.data").rename(tmp_path / "shared.data")
    assert value(tmp_path / "m.onnx") == 1
    write(tmp_path / "m.onnx", 2, True, overwrite=True)
    assert names(tmp_path) == [*PAIR, "shared.data"] and value(tmp_path / "m.onnx") == 2


def test_weights_in_the_branch_of_a_condition_move_along(tmp_path):
    write(tmp_path / "m.onnx", 1, True)
    weights = onnx.load(tmp_path / "m.onnx", load_external_data=False).graph.initializer[0]
    inner = helper.make_graph([helper.make_node("Identity", ["w"], ["y"])], "inner", [], [], [weights])
    outer = helper.make_graph([helper.make_node("If", ["c"], ["y"], then_branch=inner)], "outer", [], [])
    onnx_publishing._name_weights(outer, "other.data")
    (moved,) = outer.node[0].attribute[0].g.initializer
    assert {entry.key: entry.value for entry in moved.external_data}["location"] == "other.data"


def test_where_there_are_no_hard_links_files_are_renamed(tmp_path, monkeypatch):
    def link(*_, **__):
        raise OSError(errno.EPERM, "no links")

    monkeypatch.setattr(os, "link", link)
    write(tmp_path / "m.onnx", 1, True)
    write(tmp_path / "m.onnx", 2, True, overwrite=True)
    assert names(tmp_path) == PAIR and value(tmp_path / "m.onnx") == 2
    (tmp_path / "n.onnx.data").write_text("mine")
    write(tmp_path / "n.onnx", 1, True)
    assert (tmp_path / "n.onnx.data").read_text() == "mine" and value(tmp_path / "n.onnx") == 1
