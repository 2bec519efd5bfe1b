"""What a run or weights know for an export: the artifact answers as the run does, from raw inputs."""

import numpy as np
import pandas
import pytest

import export
import zoo
from export.tables import Columns
from tests.zoo.image_sets import as_folder, data_set


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("options")


@pytest.fixture(scope="module")
def run(folder):
    settings = {"epochs": 1, "batch_size": 4, "arguments": {"depth": 8}}
    return zoo.train("resnet20_digits", as_folder(folder, data_set("train/", "test/")), out=folder / "run", **settings)


@pytest.fixture(scope="module")
def regression(folder):
    rng = np.random.default_rng(0)
    table = pandas.DataFrame(
        {"age": rng.integers(0, 9, 40), "town": ["Bath", "York"] * 20, "rent": rng.normal(9, 1, 40)}
    )
    table.to_csv(folder / "rents.csv", index=False)
    source = zoo.load_source(folder / "rents.csv", target="rent")
    return zoo.train("tabular_resnet", source, out=folder / "rents", epochs=1)


@pytest.mark.parametrize("layout", [None, "nchw"])
def test_an_exported_run_names_the_classes_of_image_files(run, folder, layout):
    options = zoo.export_options(run, layout=layout)
    assert len(options["samples"]) == 10
    path = folder / f"artifact-{layout}"
    export.export(zoo.load(run), path, formats=["onnx"], **options)
    files = sorted((folder / "images" / "test").rglob("*.png"))
    named = [found[0][0] for found in export.load(path).classify(files)]
    assert named == [found[0][0] for found in zoo.Classifier(run).classify(files)]
    assert export.load(path).inputs[0].shape[1:] == ((3, 6, 5) if layout else (6, 5, 3))


def test_an_exported_regression_takes_rows_and_answers_in_the_units_of_its_targets(regression, folder):
    for number, options in enumerate(
        (zoo.export_options(regression), zoo.export_options("tabular_resnet", weights=regression.path))
    ):
        assert options["activation"] is None
        export.export(zoo.load(regression), folder / f"rents-{number}", formats=["onnx"], **options)
        predictor = export.load(folder / f"rents-{number}")
        table = pandas.read_csv(folder / "rents.csv")
        predicted = predictor.predict(predictor.read_rows(table))[:, 0]
        encoded = zoo.open_run(regression).source["table"]
        expected = zoo.load(regression).predict(Columns.from_dict(encoded).encode(table), verbose=0)[:, 0]
        np.testing.assert_allclose(predicted, expected, rtol=1e-5)


def test_what_is_measured_on_images_comes_with_the_run(run):
    options = zoo.export_options(run, precision="int8")
    assert options["precision"] == "int8"
    inputs, classes = options["test"]
    assert inputs.shape == (10, 6, 5, 3) and np.bincount(classes).tolist() == [5, 5]
    assert options["calibration"].shape == (10, 6, 5, 3)


def test_data_in_memory_are_given_once_more(folder):
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (20, 8, 8, 1), dtype="uint8"), np.arange(20) % 2
    source = zoo.load_source((pixels, labels))
    run = zoo.train("plain_mlp", source, out=folder / "memory", epochs=1)
    assert "samples" not in zoo.export_options(run)
    assert len(zoo.export_options(run, data=source)["samples"]) == len(source.test_inputs)


def test_the_name_of_weights_goes_before_a_folder(run, tmp_path, monkeypatch):
    (tmp_path / "digits").symlink_to(run.path)
    monkeypatch.chdir(tmp_path)
    assert len(zoo.export_options("resnet20", weights="digits")["labels"]) == 10
    assert zoo.export_options("resnet20", weights="./digits")["labels"] == ["cat", "dog"]


def test_weights_of_the_package_bring_their_preprocessing_and_labels(folder):
    source = zoo.load_source("digits")
    options = zoo.export_options("residual_mlp", weights="digits")
    export.export(zoo.load("residual_mlp", weights="digits"), folder / "digits", formats=["onnx"], **options)
    named = [found[0][0] for found in export.load(folder / "digits").classify(source.test_inputs)]
    right = np.mean(
        [name == source.class_names[target] for name, target in zip(named, source.test_targets, strict=True)]
    )
    assert right == pytest.approx(zoo.evaluate("residual_mlp", weights="digits")["accuracy"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": "digits", "precision": "int8"}, "Expected a run for data or precision='int8'. Received: resnet20"),
        ({"weights": "digits", "data": "digits"}, "Expected a run for data"),
        ({"weights": "nothing"}, "Expected weights of resnet20"),
        ({}, "run.json"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments, message):
    with pytest.raises((ValueError, OSError), match=message):
        zoo.export_options("resnet20", **arguments)


def test_a_regression_is_not_measured_on_classes(regression):
    with pytest.raises(ValueError, match="Expected the run of a classification for precision='int4'. Received: regres"):
        zoo.export_options(regression, precision="int4")


def test_a_run_stands_for_its_folder(run):
    expected = zoo.load(run.path).get_weights()
    for model in (zoo.load(run), zoo.load("resnet20", weights=run, depth=8)):
        assert all(map(np.array_equal, model.get_weights(), expected))
    assert zoo.weights_info("resnet20", run).weights == str(run.path)
    with pytest.raises(ValueError, match=rf"Expected a model in a .keras file.* Received: model='{run.path}'"):
        zoo.train(None, "digits", model=run)
