"""The commands that show what is inside a network: the files that they write, and what these hold."""

import csv

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

import zoo
from zoo._names import shorten
from zoo.analysis.augmented import augmented
from zoo.cli import app


def run(*arguments):
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exception is None, done.output
    return done.output


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_gates(tmp_path):
    said = run("gates", "highway_mlp", "--weights", "digits", "--examples", 50, "--out", tmp_path / "new" / "gates.svg")
    found = zoo.gates("highway_mlp", weights="digits", examples=50)
    rows = table(tmp_path / "new" / "gates.csv")
    (row,) = [row for row in rows if (row["layer"], row["unit"], row["what"]) == ("block3", "7", "mean")]
    assert float(row["transform"]) == pytest.approx(found.layers[2].transform[7])
    assert float(row["carry"]) == pytest.approx(found.layers[2].carry[7])
    assert f"{found.layers[2].carry.mean():.3f}" in said
    for name, title in (("gates.svg", "biases against activity"), ("gates-classes.svg", "difference of T")):
        assert title in (tmp_path / "new" / name).read_text()


def test_lesion(tmp_path):
    run("lesion", "residual_mlp", "--weights", "digits", "--examples", 50, "--out", tmp_path / "lesion.svg")
    rows = table(tmp_path / "lesion.csv")
    assert [row["layer"] for row in rows] == ["", *(f"block{place}" for place in range(1, 6))]
    found = zoo.lesion("residual_mlp", weights="digits", examples=50)
    assert [float(row["accuracy"]) for row in rows] == pytest.approx([one.accuracy for one in found])
    assert "without this layer" in (tmp_path / "lesion.svg").read_text()


def test_survival(tmp_path):
    run("survival", "stochastic_resnet110", "--set", "depth=14", "--out", tmp_path / "survival.svg")
    probabilities = [float(row["probability"]) for row in table(tmp_path / "survival.csv")]
    assert probabilities == pytest.approx([1 - place / 6 * 0.5 for place in range(1, 7)])
    assert "4.25 of 6 blocks run on average" in (tmp_path / "survival.svg").read_text()


def test_networks_of_one_name_stay_apart(tmp_path):
    files = [tmp_path / folder / "model.keras" for folder in "ab"]
    for file in files:
        file.parent.mkdir()
        keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]).save(file)
    assert "b/model.keras" in run("gradients", *files, "--batch-size", 16, "--out", tmp_path / "flow.svg")
    rows = table(tmp_path / "flow.csv")
    assert [(row["network"], row["place"]) for row in rows] == [("a/model.keras", "1"), ("b/model.keras", "1")]
    for file in files:
        zoo.build("stochastic_resnet110", (8, 8, 1), depth=8).save(file)
    run("survival", *files, "--out", tmp_path / "survival.svg")
    rows = table(tmp_path / "survival.csv")
    assert [row["network"] for row in rows] == 3 * ["a/model.keras"] + 3 * ["b/model.keras"]


def test_names_are_shortened_as_far_as_they_differ():
    assert shorten(["plain_mlp", "runs/plain_mlp", "/x/a/m", "/y/a/m", "/x/n"]) == {
        "plain_mlp": "plain_mlp",
        "runs/plain_mlp": "runs/plain_mlp",
        "/x/a/m": "x/a/m",
        "/y/a/m": "y/a/m",
        "/x/n": "n",
    }


def test_skips_of_dense_blocks(tmp_path):
    run("skips", "dense_mlp", "--weights", "digits", "--out", tmp_path / "skips.svg")
    rows = table(tmp_path / "skips.csv")
    found = zoo.feature_reuse(zoo.load("dense_mlp", weights="digits"))
    assert [float(row["weight"]) for row in rows] == pytest.approx([pair.norm for pair in found])
    assert (rows[-1]["kind"], rows[-1]["layer"]) == ("reuse", "block/head")
    assert "Feature reuse in dense_mlp" in (tmp_path / "skips.svg").read_text()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The run of a small network whose averages over depth have moved."""
    folder = tmp_path_factory.mktemp("runs") / "averaged"
    arguments = {"arguments.depth": 3, "arguments.width": 8, "arguments.skip": "depth_average"}
    zoo.train("stack_mlp_digits", out=folder, epochs=1, **arguments)
    return folder


def test_skips_of_a_run_and_without_the_small_ones(trained, tmp_path):
    said = run("skips", trained, "--examples", 50, "--prune", "1e-9,0.5", "--out", tmp_path / "skips.svg")
    rows = table(tmp_path / "skips.csv")
    model = zoo.load(trained)
    for place in (1, 2, 3):
        weights = [float(row["weight"]) for row in rows if row["layer"] == f"block_{place}_average"]
        assert weights == pytest.approx(model.get_layer(f"block_{place}_average").alpha.numpy())
    assert "Depth averages in stack_mlp" in (tmp_path / "skips.svg").read_text()
    pruned = table(tmp_path / "skips-pruned.csv")
    assert [(float(row["threshold"]), int(row["weights"])) for row in pruned] == [(0.0, 9), (1e-9, 9), (0.5, 3)]
    assert float(pruned[0]["accuracy"]) == float(pruned[1]["accuracy"]) != float(pruned[2]["accuracy"])
    assert "weights left" in said and f"{float(pruned[2]['accuracy']):.2%}" in said


def test_draw(tmp_path):
    said = run("draw", "highway_mlp", "--set", "depth=20", "--out", tmp_path / "network.svg")
    assert "block1 to block18" in said and "64" in said
    assert "× 18" in (tmp_path / "network.svg").read_text()
    rows = table(tmp_path / "network.csv")
    stages = zoo.network_stages(zoo.build("highway_mlp", depth=20))
    assert [row["stage"] for row in rows] == [stage.name for stage in stages]
    assert [int(row["parameters"]) for row in rows] == [stage.parameters for stage in stages]
    assert [int(row["multiply_adds"]) for row in rows] == [stage.multiply_adds for stage in stages]
    assert rows[2]["units"] == "18 x HighwayBlock 64" and rows[2]["output_shape"] == "64"
    assert (rows[0]["network"], rows[0]["receptive_field"]) == ("highway_mlp", "")


@pytest.mark.parametrize(
    "command",
    [("draw", "plain_mlp"), ("gates", "run"), ("lesion", "run"), ("survival", "plain_mlp"), ("skips", "dense_mlp")],
)
def test_what_is_there_is_not_overwritten(command, tmp_path):
    path = tmp_path / "figure.svg"
    path.write_text("mine")
    done = CliRunner().invoke(app, [*command, "--out", str(path)])
    assert isinstance(done.exception, FileExistsError) and "or replace it with --overwrite" in str(done.exception)
    assert path.read_text() == "mine" and list(tmp_path.iterdir()) == [path]


def test_augmented_images_stand_beside_the_originals(tmp_path):
    recipe = zoo.get_recipe("resnet20_digits").changed({"augment.pad": 0, "augment.flip": True})
    source = zoo.load_source("digits")
    found = augmented(recipe, source, examples=3, epochs=5)
    count = len(source.train_targets)
    mirrored = []
    for images, label, place in zip(found.images, found.labels, (0, (count - 1) // 2, count - 1), strict=True):
        pixels = source.train_inputs[place] / 16
        assert label == source.class_names[source.train_targets[place]]
        np.testing.assert_allclose(images[0], pixels, atol=1e-6)
        for image in images[1:]:
            same = np.allclose(image, pixels, atol=1e-6)
            assert same or np.allclose(image, pixels[:, ::-1], atol=1e-6)
            mirrored.append(not same)
    assert (found.epochs[0], found.epochs[-1], len(mirrored)) == (1, recipe.epochs, 15)
    assert 0 < sum(mirrored) < 15
    settings = ["--set", "augment.crop_area=(0.3, 1.0)", "--set", "augment.sizes=((0.5, 6),)", "--examples", 2]
    run("augmented", "resnet20_digits", *settings, "--out", tmp_path / "new" / "digits.svg")
    drawn = (tmp_path / "new" / "digits.svg").read_text()
    assert all(text in drawn for text in ("Training images of resnet20_digits", "evaluation", "epoch 1"))
    assert drawn.count("<image") == 2 * 8


def test_only_images_are_augmented():
    x, y = np.zeros((8, 5), "float32"), np.arange(8) % 2
    source = zoo.Source("numbers", x, y, x, y, ("a", "b"), zoo.Preprocessing.identity())
    with pytest.raises(ValueError, match=r"Expected grey or RGB images. Received: numbers, .* shape \(5,\)"):
        augmented(zoo.get_recipe("resnet20_digits"), source)
    done = CliRunner().invoke(app, ["augmented", "resnet20_digits", "--out", "picture.jpg"])
    assert "Expected a file that ends in .svg, .png, .pdf" in str(done.exception or done.output)
