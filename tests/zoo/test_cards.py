"""Weights that come with the package: each loads, does what its card says, and is what the tables say."""

import csv
import dataclasses
import hashlib
import io
import json
import os
from pathlib import Path

import keras
import numpy as np
import pytest

import export
import zoo
from tests.sweep import sweep
from zoo.networks.catalogue import MODELS
from zoo.reports import results
from zoo.training.evaluation import measure
from zoo.training.recipes import recipes_of
from zoo.weights import available
from zoo.weights.cards import FIRST, SHIPPED, cards
from zoo.weights.publishing import PublishingError

DOCS = Path(__file__).parents[2] / "docs"
DATA = Path(os.environ.get("KERAS_SKIP_DATA", Path(__file__).parents[3] / "shared" / "data"))
# Where the data of a card are, if not in the package.
FILES = {"cifar10": "cifar10.tar.xz", "mnist": "mnist.npz"}
NAMES = [(card.network, card.weights) for card in cards()]
# One set of weights for each data set and for each builder that no other test compares with known outputs.
MEASURED = {
    ("resnet20", "cifar10"),
    ("highway_mnist_16", "mnist"),
    ("wrn_16_2", "cifar10"),
    ("airbench_residual_64_192_256", "cifar10"),
    ("stochastic_resnet32", "digits"),
}
MEASURED |= {(f"{kind}_mlp", "digits") for kind in ("plain", "residual", "highway", "dense")}


@pytest.fixture(scope="module")
def source():
    """The data of a card, read once."""
    read = {}

    def of(weights):
        if weights not in read:
            file = DATA / FILES[weights] if weights in FILES else None
            if file is not None and not file.exists():
                pytest.skip(f"needs {file.name} in KERAS_SKIP_DATA")
            read[weights] = zoo.load_source(weights if file is None else str(file))
        return read[weights]

    return of


@pytest.mark.parametrize(("network", "weights"), NAMES)
def test_card_is_about_the_file_beside_it(network, weights):
    card = zoo.card(network, weights)
    content = (SHIPPED / card.file).read_bytes()
    assert hashlib.sha256(content).hexdigest() == card.sha256
    assert len(content) < 20e6
    assert weights in available(network) and weights in zoo.describe(network).weights
    assert (SHIPPED / card.file.replace(".weights.h5", ".json")).read_text() == card.text()
    assert card.command.startswith("keras-skip train ") and "/" not in card.command
    assert abs(card.onnx_accuracy - card.test_accuracy) <= 1e-4
    assert 0 < card.onnx_max_abs_diff <= 1e-5


@pytest.mark.parametrize("name", sweep(NAMES, MEASURED), ids="-".join)
def test_weights_reach_what_their_card_says(name, source):
    network, weights = name
    card, data = zoo.card(network, weights), source(weights)
    model = zoo.load(network, weights=weights)
    assert model.input_shape[1:] == card.input_shape
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == card.parameters
    preprocessing = zoo.Preprocessing.from_dict(card.preprocessing)
    found = measure(model, data, preprocessing, limit=FIRST)
    assert found["accuracy"] == pytest.approx(card.first_accuracy, abs=1e-9)
    assert data.as_dict()["fingerprint"] == card.data["fingerprint"]


def test_unknown_weights_are_answered_with_those_of_the_network():
    with pytest.raises(ValueError, match=r"package: resnet20, cifar10; resnet20, digits\. Received: resnet20, none$"):
        zoo.card("resnet20", "none")
    names = "airbench_residual_64_192_256, cifar10; dense_mlp, digits; .*; wrn_16_2, cifar10"
    with pytest.raises(ValueError, match=f"package: {names}. Received: none, digits$"):
        zoo.card("none", "digits")


def test_repr_of_a_card_fits_a_line():
    card = dataclasses.replace(zoo.card("highway_mlp", "digits"), test_accuracy=0.9721448)
    assert repr(card) == "Card(network='highway_mlp', weights='digits', test_accuracy=0.9721)"


def test_whole_test_set_gives_the_cards_figures():
    card = zoo.card("preact_resnet20", "digits")
    found = zoo.evaluate("preact_resnet20", weights="digits", tta=True)
    assert found["examples"] == card.data["examples"]["test"]
    assert found["accuracy"] == pytest.approx(card.test_accuracy, abs=1e-9)
    assert found["loss"] == pytest.approx(card.test_loss, rel=1e-4)
    assert found["tta_accuracy"] == pytest.approx(card.tta_accuracy, abs=1e-9) != found["accuracy"]
    assert found["tta_views"] == card.tta_views


def test_other_classes_get_a_new_head_on_the_same_weights():
    whole, other = zoo.load("highway_mlp", "digits"), zoo.load("highway_mlp", "digits", classes=3)
    assert other.output_shape == (None, 3)
    np.testing.assert_array_equal(other.get_weights()[0], whole.get_weights()[0])


@pytest.mark.parametrize(("network", "weights"), [("highway_mlp", "digits"), ("resnet20", "cifar10")])
def test_weights_are_taken_by_a_network_that_has_its_channels_first(network, weights):
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    try:
        model = zoo.load(network, weights)
    finally:
        keras.config.set_image_data_format(before)
    *sides, channels = zoo.card(network, weights).input_shape
    assert model.input_shape == (None, channels, *sides)


def test_unknown_weights_are_a_sentence():
    with pytest.raises(
        ValueError, match=r"come with the package: resnet20, cifar10; resnet20, digits\. Received: resnet20, mnist"
    ):
        zoo.card("resnet20", "mnist")
    with pytest.raises(ValueError, match="Received: resnet20, nothing"):
        zoo.evaluate("resnet20", "digits", weights="nothing")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = zoo.train("plain_mlp_digits", out=tmp_path_factory.mktemp("run") / "run", epochs=2, seed=3)
    with pytest.raises(ValueError, match="The run is not exported: .* Export it with: keras-skip export .*run"):
        zoo.publish(run, "tried", run.path.parent)
    return exported(run)


def exported(run):
    raw = export.Preprocessing("uint8", **run.source["preprocessing"])
    images = zoo.load_source("digits").test_inputs[:8]
    export.export(
        zoo.load(run.path),
        run.path / "export",
        preprocessing=raw,
        activation="softmax",
        formats=["onnx"],
        samples=images,
    )
    return run


def test_publish_writes_weights_and_a_card_of_what_they_reach(run, tmp_path):
    card = zoo.publish(run, "tried", tmp_path, limits="two epochs", chosen_by="the first of 1")
    # Digits are no pixels from 0 to 255, so nothing is said of image files.
    fields = {name: value for name, value in dataclasses.asdict(card).items() if name != "image"}
    assert json.loads((tmp_path / "plain_mlp-tried.json").read_text()) == json.loads(json.dumps(fields))
    assert card.image is None and card.reader is None
    assert card.command == "keras-skip train plain_mlp_digits --epochs 2 --seed 3"
    assert card.test_accuracy == run.results["test_accuracy"] == zoo.evaluate(run)["accuracy"]
    assert card.train_accuracy == pytest.approx(
        measure(
            zoo.load(run.path), zoo.load_source("digits"), zoo.Preprocessing.from_dict(card.preprocessing), "train"
        )["accuracy"]
    )
    assert (card.seed, card.limits, card.chosen_by) == (3, "two epochs", "the first of 1")
    assert (card.tta_accuracy, card.tta_views) == (None, None)
    loaded = zoo.load("plain_mlp", weights=tmp_path / card.file, input_shape=card.input_shape)
    for ours, theirs in zip(loaded.get_weights(), zoo.load(run.path).get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_card_of_a_run_in_mixed_precision_is_about_the_network_in_float32(tmp_path):
    settings = {"precision": "mixed_bfloat16", "augment.pad": 1}
    run = exported(zoo.train("residual_mlp_digits", out=tmp_path / "run", epochs=2, **settings))
    card = zoo.publish(run, "tried", tmp_path)
    loaded = zoo.load("residual_mlp", weights=tmp_path / card.file, input_shape=card.input_shape)
    assert {layer.compute_dtype for layer in loaded.layers} == {"float32"}
    assert card.test_loss == pytest.approx(zoo.evaluate(loaded, "digits")["loss"], rel=1e-5)
    # What half precision changes is seen in the loss.
    assert abs(card.test_loss - run.results["test_loss"]) > 1e-5 * card.test_loss
    averaged = zoo.evaluate(loaded, "digits", tta="shift")["tta_accuracy"]
    assert (card.tta_accuracy, card.tta_views) == (averaged, "shift")
    assert card.command == (
        "keras-skip train residual_mlp_digits --epochs 2 --precision mixed_bfloat16 --set augment.pad=1"
    )


def test_publish_overwrites_nothing_and_checks_the_runs_figure(run, tmp_path):
    zoo.publish(run, "tried", tmp_path)
    before = (tmp_path / "plain_mlp-tried.json").read_bytes()
    with pytest.raises(FileExistsError, match="already exists. Choose another name, or overwrite it"):
        zoo.publish(run, "tried", tmp_path)
    with pytest.raises(ValueError, match="Expected a name for the weights"):
        zoo.publish(run, "../tried", tmp_path)
    other = zoo.load_source("digits")
    other = dataclasses.replace(other, test_inputs=other.test_inputs[:200], test_targets=other.test_targets[:200])
    with pytest.raises(PublishingError, match="Expected the run's test accuracy, .*, to within 0.01 points. "):
        zoo.publish(run, "other", tmp_path, other)
    assert (tmp_path / "plain_mlp-tried.json").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


def test_publishing_again_changes_nothing_until_all_is_measured(run, tmp_path, monkeypatch):
    before = {"plain_mlp-tried.weights.h5": b"old weights", "plain_mlp-tried.json": b"their card"}
    for name, content in before.items():
        (tmp_path / name).write_bytes(content)

    def fail(self):
        raise OSError("No space left on device")

    monkeypatch.setattr("zoo.weights.cards.Card.text", fail)
    with pytest.raises(OSError, match="No space left"):
        zoo.publish(run, "tried", tmp_path, overwrite=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_tables_are_those_of_the_cards():
    assert (DOCS / "results.md").read_text() == results.page()
    assert (DOCS / "results.csv").read_text() == results.csv_text()
    rows = list(csv.DictReader(io.StringIO(results.csv_text())))
    assert {row["network"] for row in rows} == {name for name in MODELS if recipes_of(name)}
    for row in rows:
        if row["weights"]:
            card = zoo.card(row["network"], row["weights"])
            assert float(row["error"]) == pytest.approx(100 - 100 * card.test_accuracy, abs=0.005)
            if row["gap"]:
                gap = float(row["error"]) - float(row["paper_error"])
                assert float(row["gap"]) == pytest.approx(gap, abs=0.011)


def test_papers_figures_are_those_of_the_data():
    assert results.paper_error("resnet20", "cifar10") == 8.75
    assert results.paper_error("wrn_16_8", "cifar100") == 20.43
    assert results.paper_error("highway_mnist_16", "mnist") == 0.57
    assert results.paper_error("resnet20", "digits") is None
