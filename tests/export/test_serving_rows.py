"""Rows of a table that clients send: the server reads them as the artifact records, or says why not in one line."""

import csv
import json

import keras
import numpy as np
import pytest
from keras import layers, ops

import export
from export.tables import Column, Columns
from tests.export.models import randomise
from tests.export.server import serving
from tests.export.small_artifact import small
from tests.processes import keras_skip

pytest.importorskip("starlette", reason="the extra serve is not installed")

COLUMNS = Columns((Column("age"), Column("built", "date"), Column("town", "category", ("Bath", "York"))), ("rent",))
ROWS = [
    {"age": 41, "built": "1999-12-31", "town": "York", "note": "not a column"},
    {"age": None, "built": None, "town": None},
    {"age": 7.5, "built": "2020-02-29", "town": "Rome"},
]
ENCODED = COLUMNS.encode({name: [row[name] for row in ROWS] for name in COLUMNS.names})
JSON = {"Content-Type": "application/json; charset=utf-8"}


def network(units):
    row = keras.Input((3,), name="row")
    known = ops.where(ops.isnan(row), ops.zeros_like(row), row * np.array([0.1, 1e-4, 1.0], "float32"))
    return randomise(keras.Model(row, layers.Dense(units)(known)), seed=units)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    table = {"table": COLUMNS.to_dict(), "samples": ENCODED, "formats": "onnx", "device": "cpu", "batch_sizes": (1, 2)}
    export.export(network(4), folder / "kinds", activation="softmax", labels=list("abcd"), name="kinds", **table)
    export.export(network(2), folder / "rents", task="regression", target_names=["cold", "warm"], name="rents", **table)
    small(folder / "arrays", name="arrays", formats="onnx")
    export.export(network(3), folder / "scores", task="classification", name="scores", **table)
    row, other = keras.Input((3,), name="row"), keras.Input((3,), name="other")
    table["samples"] = ENCODED[:1]  # without missing values
    y = layers.Dense(3)(row)
    export.export(randomise(keras.Model(row, y)), folder / "fragile", name="fragile", **table)
    whole = keras.Model(row, ops.cast(ops.abs(y) * 100, "uint8"))
    export.export(whole, folder / "whole", labels=list("abc"), name="whole", **table)
    mixed = keras.Model(row, y - ops.mean(y, axis=0, keepdims=True))
    export.export(mixed, folder / "mixed", activation="softmax", name="mixed", **table)
    table["samples"] = {"row": ENCODED[:1], "other": ENCODED[:1]}
    export.export(keras.Model([row, other], row + other), folder / "two", name="two", **table)
    return folder
    return folder


def test_inspection_lists_the_columns(folder):
    assert export.inspect(folder / "rents", runs=1)["columns"] == COLUMNS.to_dict()["inputs"]
    shown = " ".join(keras_skip("inspect", "rents", "--runs", 1, cwd=folder).stdout.split())
    assert "Columns of a row" in shown and "town" in shown and "Bath, York" in shown
    assert "Columns of a row" not in keras_skip("inspect", "arrays", "--runs", 1, cwd=folder).stdout


@pytest.fixture(scope="module")
def server(folder):
    artifacts = sorted(path.parent for path in folder.glob("*/artifact.json"))
    with serving(folder / "log", *artifacts, "--max-batch-size", 4) as server:
        yield server


def predict(server, body, model="kinds", headers=JSON, query=""):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    status, received, answer = server.request("POST", f"/v2/models/{model}/predict{query}", data, headers)
    assert received["content-type"] == "application/json"
    return status, json.loads(answer)


def test_rows_get_their_classes_whatever_is_missing(server, folder):
    expected = export.load(folder / "kinds")(ENCODED)
    assert len({tuple(np.argsort(-y)) for y in expected}) > 1
    status, answer = predict(server, {"rows": ROWS})
    assert (status, answer["model_name"], len(answer["rows"])) == (200, "kinds", 3)
    for row, y in zip(answer["rows"], expected, strict=True):
        order = np.argsort(-y)
        assert [each["label"] for each in row["classes"]] == ["abcd"[i] for i in order]
        np.testing.assert_allclose([each["probability"] for each in row["classes"]], y[order], atol=1e-6)
    _, fewer = predict(server, {"rows": ROWS[:1]}, query="?top=2")
    assert [each["label"] for each in fewer["rows"][0]["classes"]] == [
        each["label"] for each in answer["rows"][0]["classes"][:2]
    ]


def test_rows_get_their_numbers_by_name_as_the_command_line_writes_them(server, folder):
    status, answer = predict(server, {"rows": ROWS}, "rents")
    assert status == 200
    with (folder / "rows.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS.names, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(ROWS)
    keras_skip("predict", folder / "rents", folder / "rows.csv", "--out", "rents.csv", cwd=folder)
    with (folder / "rents.csv").open(newline="") as file:
        written = [{name: float(row[name]) for name in ("cold", "warm")} for row in csv.DictReader(file)]
    for row, other in zip(answer["rows"], written, strict=True):
        assert row["numbers"] == pytest.approx(other, rel=1e-5)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "Expected the body to be JSON"),
        (ROWS, 'Expected {"rows": [{"COLUMN": VALUE, ...}, ...]}. Received: other JSON'),
        ({"rows": ROWS[0]}, "Received: other JSON"),
        ({"rows": [ROWS[0], 3]}, "Expected each row to be an object. Received: row 2 is something else"),
        ({"rows": [ROWS[0], {"age": 3}]}, "with null for a missing value. Received: row 2 without built, town"),
        ({"rows": [ROWS[0] | {"town": ["York"]}]}, "Expected one value in column 'town'. Received: an array in row 1"),
        ({"rows": [ROWS[0], ROWS[0] | {"age": "old"}]}, "or nothing, in column 'age'. Received: 'old' in row 2"),
        ({"rows": [ROWS[0] | {"town": {"a": 1}}]}, "in column 'town'. Received: an object in row 1"),
        ({"rows": [ROWS[0] | {"age": "x" * 1000}]}, f"'age'. Received: '{'x' * 79}... in row 1"),
        ({"rows": [ROWS[0] | {"age": True}]}, "in column 'age'. Received: True in row 1"),
        ({"rows": [ROWS[0] | {"built": "yesterday"}]}, "a date such as 2024-01-31, or nothing, in column 'built'"),
        ({"rows": []}, "Expected 1 to 4 examples of row"),
        ({"rows": ROWS[:1] * 5}, "Expected 1 to 4 examples of row"),
    ],
)  # fmt: skip
def test_malformed_rows_get_a_one_line_error(server, body, message):
    status, answer = predict(server, body)
    assert (status, list(answer)) == (400, ["error"])
    assert message in answer["error"]
    assert predict(server, {"rows": ROWS})[0] == 200


def test_other_models_content_types_and_parameters_are_refused(server):
    status, answer = predict(server, {"rows": ROWS}, "arrays")
    assert status == 400 and "Received: arrays, which takes arrays at /infer" in answer["error"]
    status, answer = predict(server, b"age\n3\n", headers={"Content-Type": "text/csv"})
    assert status == 415 and "Expected rows as application/json. Received: text/csv" in answer["error"]
    status, answer = predict(server, {"rows": ROWS}, query="?top=0")
    assert status == 400 and "Received: top=0" in answer["error"]
    assert predict(server, b"{", query="?top=0")[1] == answer
    status, answer = predict(server, {"rows": ROWS}, headers={"Content-Type": "x" * 1000})
    assert status == 415 and len(answer["error"]) < 200
    assert predict(server, {"rows": ROWS}, headers={"Content-Type": "Application/JSON"})[0] == 200
    assert "arrays at /infer" in predict(server, {"rows": ROWS}, "two")[1]["error"]
    _, _, answer = server.request("POST", "/v2/models/kinds/classify", b"", {"Content-Type": "image/png"})
    assert "Received: kinds, which takes rows at /predict" in json.loads(answer)["error"]
    _, _, answer = server.request("POST", "/v2/models/two/classify", b"", {"Content-Type": "image/png"})
    assert "Received: two, which takes arrays at /infer" in json.loads(answer)["error"]


def test_a_missing_value_that_the_model_cannot_take_is_refused(server):
    assert predict(server, {"rows": ROWS[:1]}, "fragile")[0] == 200
    status, answer = predict(server, {"rows": ROWS}, "fragile")
    assert status == 400 and "the model gives finite numbers. Received: NaN" in answer["error"]


def test_scores_and_whole_numbers_are_named_from_the_largest(server, folder):
    _, answer = predict(server, {"rows": ROWS[:1]}, "scores")
    (y,) = export.load(folder / "scores")(ENCODED[:1])
    expected = [{"label": str(i), "score": float(y[i])} for i in np.argsort(-y)]
    assert answer["rows"] == [{"classes": expected}]
    _, answer = predict(server, {"rows": ROWS[:1]}, "whole")
    scores = [each["score"] for each in answer["rows"][0]["classes"]]
    assert scores == sorted(scores, reverse=True) and scores[0] > scores[-1]


def test_rows_do_not_change_the_answers_of_others(server):
    _, answer = predict(server, {"rows": [ROWS[0], ROWS[2]]}, "mixed")
    for row in answer["rows"]:
        # Alone in its batch a row differs from the mean by nothing.
        assert [each["probability"] for each in row["classes"]] == pytest.approx([1 / 3] * 3)


def test_the_metadata_says_which_columns_there_are(server):
    _, _, body = server.request("GET", "/v2/models/kinds")
    assert json.loads(body)["parameters"] == {"columns": COLUMNS.to_dict()["inputs"]}
    _, _, body = server.request("GET", "/v2/models/arrays")
    assert "parameters" not in json.loads(body)


def test_names_of_numbers_differ(tmp_path):
    with pytest.raises(ValueError, match="Expected target_names that differ. Received: target_names=\\['a', 'a'\\]"):
        export.export(None, tmp_path / "a", task="regression", target_names=["a", "a"])
