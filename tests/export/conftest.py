"""Artifacts, each exported once; tests that spoil one get a copy."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.export.server import Server, serving


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import export
    from tests.export.models import conv_net, images

    path = tmp_path_factory.mktemp("artifact") / "classifier"
    export.export(
        conv_net(),
        path,
        preprocessing=export.Preprocessing("uint8", scale=1 / 255, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4)),
        labels=["ant", "bee", "cat", "dog"],
        activation="softmax",
        samples=images(50),
        name="classifier",
    )
    return path


@pytest.fixture(scope="session")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A highway network that tells its gates."""
    import export
    from tests.export.models import highway_net, images

    path = tmp_path_factory.mktemp("gated") / "highway"
    export.export(
        highway_net(name="highway"),
        path,
        preprocessing=export.Preprocessing("uint8", scale=1 / 255),
        labels=["ant", "bee", "cat"],
        activation="softmax",
        samples=images(20),
        gates=True,
    )
    return path


@pytest.fixture(scope="session")
def small_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.export.small_artifact import small

    return small(tmp_path_factory.mktemp("small") / "artifact", formats="onnx")


@pytest.fixture
def here(small_artifact: Path, tmp_path: Path) -> Path:
    """A copy of the small artifact, to edit."""
    return Path(shutil.copytree(small_artifact, tmp_path / "here"))


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """`run_forms` and `run_everywhere` run onnxruntime here: to start a process takes most of an export's time.

    Conversions to fp16 and int8, races, targets and fixtures of modules still start processes. What these are for is
    tested in test_faults and test_limits.
    """
    from export.runtime import processes
    from export.runtime.worker import INPUTS, perform
    from export.storage.arrays import write_batches

    def run(folder, tasks, names, batches=None):
        if batches is not None:
            write_batches(folder / INPUTS, batches)
        for number, task in enumerate(tasks):
            perform(folder, number, *task)

    monkeypatch.setattr(processes, "run_tasks", run)


@pytest.fixture
def spoiled(artifact: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(artifact, tmp_path / "copy"))


@pytest.fixture(scope="session")
def server(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that leave it as it is."""
    with serving(tmp_path_factory.mktemp("server") / "log", artifact, f"second={artifact}") as running:
        yield running
        assert running.is_healthy()
        assert running.terminate() == 0
