"""The experiment with deep gated networks in docs/: its networks, its gradients, and that its runs resume."""

import csv
import itertools
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

import zoo
from tests.sweep import sweep
from zoo._files import write_csv

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module", autouse=True)
def docs_on_path():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "docs")
        yield


@pytest.fixture(scope="module")
def deep_gates(docs_on_path):
    import deep_gates

    return deep_gates


@pytest.fixture
def few(deep_gates, monkeypatch):
    """Two networks, two rates and two seeds."""
    names = ("pre-norm, sum", "no norm, coupled, bias -4")
    monkeypatch.setattr(deep_gates, "NETWORKS", {name: deep_gates.NETWORKS[name] for name in names})
    monkeypatch.setattr(deep_gates, "RATES", (1e-5, 1e-2))
    monkeypatch.setattr(deep_gates, "SEEDS", (0, 1))
    return deep_gates


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def unrolled(deep_gates, model):
    """The same network without a scan, and its layers."""
    (stack,) = (layer for layer in model.layers if isinstance(layer, deep_gates.Stack))
    chain = [stack._make() for _ in range(stack.depth)]
    image = x = keras.Input(model.input_shape[1:])
    for layer in model.layers[1:]:
        for each in chain if layer is stack else [layer]:
            x = each(x)
    for index, layer in enumerate(chain):
        for variable, values in zip(layer.trainable_variables, stack.trainable_variables, strict=True):
            variable.assign(values[index])
    return keras.Model(image, x), chain


NAMES = ("pre-norm, review", "keel", "pre-norm, coupled, bias 0", "no norm, learned, biases -2 and 2")


@pytest.mark.parametrize("name", sweep(NAMES, {"keel", "no norm, learned, biases -2 and 2"}))
def test_a_stack_is_its_layers_one_after_another(deep_gates, name):
    import tensorflow as tf

    images = deep_gates.Images(zoo.load_source("digits"))
    network = deep_gates.Network(name, 3, images.shape)
    norms = network.gradients(images, seed=1)
    model, chain = unrolled(deep_gates, network.model)
    pixels, labels = images.batches(1, 0)
    np.testing.assert_allclose(network.model.predict(pixels, verbose=0), model.predict(pixels, verbose=0), atol=1e-5)
    with tf.GradientTape() as tape:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, model(pixels))
    gradients = tape.gradient(loss, [[variable.value for variable in layer.trainable_variables] for layer in chain])
    expected = [np.sqrt(sum(np.sum(np.square(each)) for each in layer)) for layer in gradients]
    np.testing.assert_allclose(norms, expected, rtol=1e-4)


def test_a_bias_of_minus_ln_l_opens_the_gates_by_one_part_in_l(deep_gates):
    layer = deep_gates.make_layer("no norm, coupled, bias -ln L", 40)
    layer.build((None, 32))
    transform, carry = (np.asarray(gate) for gate in layer.gate_layer.gates(np.zeros((1, 32))))
    np.testing.assert_allclose(transform, 1 / 41, rtol=1e-5)
    np.testing.assert_allclose(carry, 40 / 41, rtol=1e-5)


def test_the_evaluated_training_images_are_of_all_classes(deep_gates, monkeypatch):
    monkeypatch.setattr(deep_gates, "TRAINING_EVALUATED", 500)
    digits = zoo.load_source("digits")
    order = np.argsort(digits.train_targets, kind="stable")
    images = deep_gates.Images(
        replace(digits, train_inputs=digits.train_inputs[order], train_targets=digits.train_targets[order])
    )

    class Zeros:
        def predict(self, images, *_, **__):
            assert len(images) == 143 + 500 + 359
            return np.eye(10)[np.zeros(len(images), int)]

    np.testing.assert_allclose(images.accuracies(Zeros()), 0.1, atol=0.03)


def test_runs_resume_and_only_the_best_rate_gets_all_seeds(few, tmp_path, monkeypatch):
    table = tmp_path / "table.csv"
    few.train(table, {"digits": "digits"}, steps=30, depths={"digits": (2,)})
    rows = read(table)
    assert list(rows[0]) == list(few.Trained._fields)
    runs = [(row["network"], (row["rate"], row["seed"])) for row in rows]
    assert runs == list(itertools.product(few.NETWORKS, (("1e-05", "0"), ("0.01", "0"), ("0.01", "1"))))
    assert all(float(row["test_accuracy"]) > 0.5 for row in rows if row["rate"] == "0.01")

    trained = []
    train = few.Network.train
    monkeypatch.setattr(few.Network, "train", lambda *given: trained.append(given[2:]) or train(*given))
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(lines[:-2]))
    few.train(table, {"digits": "digits"}, steps=30, depths={"digits": (2,)})
    assert trained == [(30, 0, 0.01), (30, 1, 0.01)]
    for again, before in zip(read(table), rows, strict=True):
        assert float(again["test_accuracy"]) == pytest.approx(float(before["test_accuracy"]), abs=0.01)
    few.train(table, {"digits": "digits"}, steps=30, depths={"digits": (2,)})
    assert len(trained) == 2


def test_gradients_resume(few, tmp_path, monkeypatch):
    table = tmp_path / "table.csv"
    few.measure_gradients(table, depths=(2,))
    text = table.read_text()
    rows = read(table)
    assert list(rows[0]) == list(few.Gradient._fields)
    assert [(row["network"], row["seed"]) for row in rows] == list(itertools.product(few.NETWORKS, ("0", "1")))
    assert rows[0]["first"] != rows[1]["first"]
    table.write_text("".join(text.splitlines(keepends=True)[:-1]))
    seeds = []
    gradients = few.Network.gradients
    monkeypatch.setattr(few.Network, "gradients", lambda *given: seeds.append(given[2]) or gradients(*given))
    few.measure_gradients(table, depths=(2,))
    assert seeds == [1] and read(table) == rows


@pytest.fixture
def cells(deep_gates):
    return [(name, depth) for depth in deep_gates.DEPTHS["digits"] for name in deep_gates.NETWORKS]


def check_drawn(deep_gates, name, rows, others, folder):
    """Has the figure made from a complete table, without MNIST, and compares the table beside it."""
    import make_figures

    (folder / "runs").mkdir()
    write_csv(folder / "runs" / f"{name}.csv", others + rows, type(rows[0]))
    make_figures.FIGURES[name](make_figures.Maker(folder, folder / "runs", mnist="none.npz"))
    assert deep_gates.read(folder / f"{name}.csv", type(rows[0])) == rows
    drawn = (folder / f"{name}.svg").read_text(encoding="utf-8")
    assert all(network.rpartition(", ")[2] in drawn for network in deep_gates.NETWORKS)


def test_complete_gradients_are_drawn(deep_gates, cells, tmp_path):
    rows = [deep_gates.Gradient(*cell, seed, 1.0, 2.0, 1.0, 2.0) for cell in cells for seed in range(3)]
    check_drawn(deep_gates, "gates_gradients", rows, [], tmp_path)


def test_complete_trainings_are_drawn_at_their_best_rates(deep_gates, cells, tmp_path):
    from deep_gates_charts import chosen

    runs = [(3e-4, 0, 0.3), (1e-3, 0, 0.4), (3e-3, 0, 0.2), (1e-3, 1, 0.1), (1e-3, 2, 0.1)]
    rows, shorter = (
        [
            deep_gates.Trained(data, *cell, steps, rate, seed, validation, 0.7, 0.6)
            for data, depths in deep_gates.DEPTHS.items()
            for cell in cells
            if cell[1] in depths
            for rate, seed, validation in runs
        ]
        for steps in (deep_gates.STEPS, 10)
    )
    assert chosen(rows) == [row for row in rows if row.rate == 1e-3]
    check_drawn(deep_gates, "gates_accuracy", rows, shorter, tmp_path)
