"""Data that the caller holds: arrays and data sets, as they are read, trained on and refused."""

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

import export
import zoo
from zoo.cli import app
from zoo.data import datasets
from zoo.data.arrays import from_arrays

DIGITS = zoo.load_source("digits")
X, Y = DIGITS.train_inputs[:300], DIGITS.train_targets[:300]
ONE_HOT = keras.utils.to_categorical(Y, 10)


class Sequence(keras.utils.PyDataset):
    """Batches of 64."""

    def __init__(self, x=X, y=Y, batches=5):
        super().__init__()
        self.x, self.y, self.batches = x, y, batches

    @property
    def num_batches(self):
        return self.batches

    def __getitem__(self, index):
        span = slice(64 * index, 64 * index + 64)
        return self.x[span], self.y[span]


def tf_dataset(x=X, y=Y):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((x, y))


GIVEN = {
    "a pair": lambda: (X, Y),
    "a pair with one-hot labels": lambda: (X, ONE_HOT),
    "a list": lambda: [X, Y],
    "a dictionary": lambda: {"x_train": X, "y_train": Y},
    "a PyDataset": Sequence,
    "a PyDataset with one-hot labels": lambda: Sequence(y=ONE_HOT),
    "a tf.data.Dataset": lambda: tf_dataset().batch(64),
}


@pytest.mark.parametrize("kind", GIVEN)
def test_data_in_memory_are_read_in_their_order(kind):
    """As the same arrays in a file are."""
    source, expected = zoo.load_source(GIVEN[kind]()), from_arrays("arrays", {"x_train": X, "y_train": Y})
    for name in ("train_inputs", "train_targets", "test_inputs", "test_targets"):
        np.testing.assert_array_equal(getattr(source, name), getattr(expected, name))
    assert source.fingerprint == expected.fingerprint
    assert (source.name, source.task) == ("arrays", "classification")


def test_data_of_torch_are_read_in_their_order():
    torch = pytest.importorskip("torch")
    colours = np.repeat(X, 3, axis=-1)
    tensors = torch.from_numpy(np.moveaxis(colours, -1, 1).copy()), torch.from_numpy(Y)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*tensors), batch_size=64)
    source, expected = zoo.load_source(loader), from_arrays("arrays", {"x_train": colours, "y_train": Y})
    np.testing.assert_array_equal(source.train_inputs, expected.train_inputs)
    np.testing.assert_array_equal(source.train_targets, expected.train_targets)


def test_dictionary_with_all_parts_is_not_split():
    parts = {"x_test": X[200:], "y_test": Y[200:], "x_val": X[100:200], "y_val": Y[100:200]}
    source = zoo.load_source({"x_train": X[:100], "y_train": Y[:100], **parts})
    assert [len(getattr(source, f"{part}_inputs")) for part in source.parts] == [100, 100, 100]


def endless():
    return tf_dataset().batch(64).repeat()


REFUSED = {
    "inputs and targets, .*Received: 3": lambda: (X, Y, Y),
    "a data set that ends. Received: a .*RepeatDataset": endless,
    "a data set that ends. Received: a Sequence": lambda: Sequence(batches=None),
    "two arrays. Received: 2": tf_dataset,
    "with batches. Received: none": lambda: Sequence(batches=0),
    "a pair .*Received: builtins.generator": lambda: (pair for pair in [(X, Y)]),
}


@pytest.mark.parametrize("message", REFUSED)
def test_data_that_cannot_be_read_are_refused(message):
    with pytest.raises(ValueError, match=f"(?s)Expected .*{message}"):
        zoo.load_source(REFUSED[message]())


def test_data_set_that_does_not_fit_into_memory_is_refused(monkeypatch):
    monkeypatch.setattr(datasets, "_memory", lambda: 2 * X[:200].nbytes)
    with pytest.raises(ValueError, match="half of the memory, 0.0 GB. Received: a data set that does not"):
        zoo.load_source(Sequence())


class Stop(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch == 2:
            raise RuntimeError


def test_run_on_arrays_is_resumed_with_the_same_ones_and_exported_without(tmp_path, no_report):
    options = {"recipe": "plain_mlp_digits", "data": (X, Y), "epochs": 2, "batch_size": 64}
    options |= {"checkpoint_steps": 1, "arguments.depth": 3}
    whole = zoo.train(**options, out=tmp_path / "whole")
    assert whole.recipe.source == "arrays"
    with pytest.raises(RuntimeError):
        zoo.train(**options, out=tmp_path / "run", callbacks=[Stop()])
    with pytest.raises(ValueError, match="Expected data=, the arrays .* since they have no name"):
        zoo.resume(tmp_path / "run")
    with pytest.raises(ValueError, match="Expected the data that the run began with"):
        zoo.resume(tmp_path / "run", (X, Y[::-1]))
    run = zoo.resume(tmp_path / "run", Sequence())
    pairs = zip(zoo.load(run.path).get_weights(), zoo.load(whole.path).get_weights(), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)
    with pytest.raises(ValueError, match="Expected data=, the arrays"):
        zoo.evaluate(run)
    with pytest.raises(ValueError, match="a zoo.Source, .* Received: tuple"):
        zoo.evaluate(run, (X, Y))
    done = CliRunner().invoke(app, ["export", str(run.path), "--format", "onnx"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    answers = export.load(run.path / "export").predict(X[:50]).argmax(axis=-1)
    network = zoo.load(run.path).predict(zoo.load_source((X, Y)).preprocessing(X[:50]), verbose=0)
    np.testing.assert_array_equal(answers, network.argmax(axis=-1))
    figures = zoo.evaluate(run, zoo.load_source((X, Y)))
    assert figures["accuracy"] == pytest.approx(run.results["test_accuracy"])


def test_floats_are_a_regression_and_masks_a_segmentation():
    from sklearn.datasets import load_diabetes

    numbers = zoo.load_source(load_diabetes(return_X_y=True))
    assert (numbers.task, numbers.outputs, numbers.train_inputs.dtype) == ("regression", 1, np.float32)
    masks = zoo.load_source(Sequence(y=(X[..., 0] > 7).astype("uint8")))
    assert (masks.task, masks.outputs) == ("segmentation", 2)
