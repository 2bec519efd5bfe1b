"""A small source, a short run on it, and whole files of weights, which many tests read and none changes."""

from dataclasses import replace
from importlib.util import find_spec

import pytest

import zoo
from tests.zoo.small_inputs import few_blocks
from tests.zoo.small_runs import OPTIONS


@pytest.fixture(scope="session")
def small_source():
    """Two hundred digits to train on and fifty to test on."""
    digits = zoo.load_source("digits")
    return replace(
        digits,
        train_inputs=digits.train_inputs[:200],
        train_targets=digits.train_targets[:200],
        test_inputs=digits.test_inputs[:50],
        test_targets=digits.test_targets[:50],
    )


@pytest.fixture(scope="session")
def run(small_source, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "plain"
    return zoo.train("plain_mlp_digits", small_source, out, **OPTIONS)


@pytest.fixture(scope="session")
def network(tmp_path_factory):
    """A small network and whole files of it, one of each kind."""
    import keras
    from safetensors.numpy import save_file

    folder = tmp_path_factory.mktemp("whole")
    model = zoo.build("plain_mlp", input_shape=(4, 4, 1), classes=3, depth=3)
    model.save(folder / "whole.keras")
    model.save_weights(folder / "whole.weights.h5")
    arrays = {variable.path: keras.ops.convert_to_numpy(variable) for variable in model.weights}
    save_file(arrays, folder / "whole.safetensors")
    if find_spec("torch"):
        import torch

        tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
        torch.save(tensors, folder / "whole.pth")
        torch.save(tensors, folder / "whole.pt", _use_new_zipfile_serialization=False)
    return model, folder


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A folder of decoded images for this test alone."""
    monkeypatch.setenv("KERAS_SKIP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs write no report.html, whose figures take longer to draw than a small network to train."""
    monkeypatch.setattr("zoo.training.loop.write_report", lambda run, source, model: None)


@pytest.fixture(name="few_blocks")
def _few_blocks():
    """Networks that have no small depth get one or two blocks in each stage."""
    with few_blocks():
        yield
