"""A run on a table, as the command line trains and measures it: options, vocabulary, other files, the same again."""

import json
import shlex

import keras
import numpy as np
import pandas
import pytest
from typer.testing import CliRunner

import zoo
from export.tables import Columns
from tests.processes import keras_skip
from zoo.cli import app
from zoo.cli._weights import check_weights
from zoo.training.command import command
from zoo.training.prediction import network_of_weights

ROWS = 60


def frame(seed=0, **changes):
    rng = np.random.default_rng(seed)
    columns = {"age": rng.integers(0, 9, ROWS), "town": rng.choice(["Bath", "York"], ROWS), "zip": [1, 2, 3] * 20}
    return pandas.DataFrame(
        columns | {"rent": rng.normal(900, 90, ROWS), "part": ["train"] * 45 + ["test"] * 15} | changes
    )


def said(*words):
    done = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=True)
    assert done.exit_code == 0, done.exception
    return done.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    frame().to_csv(folder / "rents.csv", index=False)
    options = ["--target", "rent", "--column", "zip=category", "--split-column", "part", "--epochs", 1]
    said("train", "tabular_resnet_diabetes", "--data", folder / "rents.csv", "--out", folder / "run", *options)
    return folder


def measured(model, inputs, rents):
    predicted = model.predict(inputs, verbose=0)[:, 0]
    return float(np.sqrt(np.mean((predicted - rents) ** 2)))


def test_the_run_records_how_the_table_is_read(folder):
    source = json.loads((folder / "run" / "run.json").read_text())["source"]
    options = {"target": "rent", "split_column": "part", "columns": {"zip": "category"}}
    assert {name: source["options"][name] for name in options} == options
    assert [column["name"] for column in source["table"]["inputs"]] == ["age", "town", "zip"]
    assert source["examples"] == {"train": 45, "test": 15}
    words = shlex.split(command(zoo.open_run(folder / "run").record))
    assert shlex.join(words[words.index("--target") :]) == "--target rent --split-column part --column zip=category"


def test_the_run_is_measured_on_its_own_test_rows(folder):
    table, model = frame()[45:], zoo.load(folder / "run")
    inputs = np.stack([table["age"], table["town"] == "York", table["zip"] - 1], axis=1).astype("float32")
    rmse = measured(model, inputs, table["rent"])
    assert zoo.evaluate(folder / "run")["rmse"] == pytest.approx(rmse, rel=1e-4)
    assert zoo.open_run(folder / "run").results["test_rmse"] == pytest.approx(rmse, rel=1e-4)


def test_other_rows_are_encoded_as_in_training_and_all_measured(folder):
    towns = np.array(["York", "Rome", None] * 20)
    table = frame(seed=1, town=towns, zip=[9, 3] * 30).drop(columns="part").iloc[:, ::-1]
    table.to_csv(folder / "other.csv", index=False, sep=";", decimal=",")
    known = np.where(towns == "York", 1, 2)
    inputs = np.stack([table["age"], known, np.where(table["zip"] == 3, 2, 3)], axis=1).astype("float32")
    expected = measured(zoo.load(folder / "run"), inputs, table["rent"])
    figures = zoo.evaluate(folder / "run", str(folder / "other.csv"))
    assert figures["examples"] == ROWS and figures["rmse"] == pytest.approx(expected, rel=1e-4)
    output = said("evaluate", folder / "run", "--data", folder / "other.csv")
    assert f"{expected:.4g}"[:4] in output
    table.assign(half=["train", "test"] * 30).to_csv(folder / "halves.csv", index=False)
    output = said("evaluate", folder / "run", "--data", folder / "halves.csv", "--split-column", "half")
    assert "30" in output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "tabular_resnet_wine", "--data", "rents.csv"], "Expected target, the column to predict: one of age"),
        (["train", "tabular_resnet_wine", "--target", "rent"], "Expected target only for a table. Received: 'wine'"),
        (["train", "tabular_resnet_wine", "--data", "rents.csv", "--target", "x"], "Expected target to be one of age"),
        (["train", "--resume", "run", "--target", "rent"], "Expected --resume with no other options"),
        (["evaluate", "run", "--split-column", "part"], "Expected --split-column only with --data. Received: no data"),
        (["evaluate", "run", "--data", "rents.csv", "--split-column", "x"], "Expected split_column to be one of age"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_trained(folder, monkeypatch, words, message):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(keras.Model, "fit", None)
    done = CliRunner().invoke(app, words)
    assert message in str(done.exception)
    assert not (folder / "runs").exists()


def test_a_run_may_be_named_as_weights_of_its_network_only(folder):
    """Its rows and numbers are then those of the run: no class, and no softmax, which makes 1 of any number."""
    run = zoo.open_run(folder / "run")
    for subject in ([run.path], ["tabular_resnet", "--weights", run.path]):
        out = folder / f"{len(subject)}.csv"
        said("predict", *subject, folder / "rents.csv", "--out", out)
    assert (folder / "1.csv").read_text() == (folder / "3.csv").read_text()
    inputs = Columns.from_dict(run.source["table"]).encode(frame())
    expected = zoo.load(run.path).predict(inputs, verbose=0)[:, 0]
    np.testing.assert_allclose(pandas.read_csv(folder / "3.csv")["rent"], expected, rtol=1e-5)
    with pytest.raises(ValueError, match=r"Expected tabular_resnet, the network of the run .* Received: plain_mlp"):
        network_of_weights("plain_mlp", run.path)
    with pytest.raises(ValueError, match="weights that tell classes apart.* a run of regression"):
        check_weights("tabular_resnet", str(run.path), None, "fp32")


def test_names_may_be_in_any_script_where_the_locale_knows_only_ascii(tmp_path):
    table = frame().drop(columns="rent").rename(columns={"age": "größe"}).replace({"Bath": "茶", "York": "Café"})
    table.to_csv(tmp_path / "table.csv", index=False)
    options = "--data", "table.csv", "--target", "town", "--epochs", 1, "--out", "run"
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    keras_skip("train", "tabular_resnet", *options, cwd=tmp_path, fresh=True, **ascii_only)
    run = zoo.open_run(tmp_path / "run")
    assert run.record["source"]["class_names"] == ["Café", "茶"]
    assert "<th scope='row'>茶</th>" in (tmp_path / "run" / "report.html").read_text("utf-8")
