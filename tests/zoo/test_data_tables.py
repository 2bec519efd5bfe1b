"""Tables as sources: kinds of columns, target, task and split, on files as pandas and users write them."""

import warnings

import numpy as np
import pandas
import pytest

import zoo

ROWS = 120


def frame(**changes):
    rng = np.random.default_rng(0)
    columns = {
        "name": [f"car {row}" for row in range(ROWS)],
        "power": np.where(rng.random(ROWS) < 0.1, np.nan, rng.normal(90, 20, ROWS).round(3)),
        "doors": rng.choice([3, 5], ROWS),
        "brand": rng.choice(["Audi", "BMW", "Fiat", None], ROWS),
        "sold": [f"2024-{1 + row % 12:02d}-{1 + row % 28:02d}" for row in range(ROWS)],
        "leased": rng.random(ROWS) < 0.5,
        "wheels": 4,
        "price": rng.normal(20_000, 5_000, ROWS).round(2),
    }
    return pandas.DataFrame({name: value for name, value in (columns | changes).items() if value is not None})


def load(tmp_path, table=None, quiet=True, **options):
    table = frame() if table is None else table
    path = tmp_path / "cars.csv"
    if isinstance(table, str):
        path.write_text(table)
    else:
        table.to_csv(path, index=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if quiet else "error")
        return zoo.load_source(path, **options)


def rows_of(source, part, table, name):
    """The rows of a table that are in a part, in the order of the part, found by a number that each has once."""
    place = {np.float32(value): row for row, value in enumerate(table[name])}
    return table.iloc[[place[value] for value in getattr(source, f"{part}_targets")[:, 0]]]


def test_a_table_is_split_encoded_and_found_again(tmp_path):
    source, table = load(tmp_path, target="price"), frame()
    assert (source.task, source.target_names, source.class_names) == ("regression", ("price",), ())
    kinds = [(column.name, column.kind) for column in source.table.inputs]
    numbers = [("power", "number"), ("doors", "number"), ("sold", "date")]
    assert kinds == [*numbers, ("brand", "category"), ("leased", "category")]
    assert (len(source.train_inputs), len(source.test_inputs)) == (96, 24)
    assert source.preprocessing == zoo.Preprocessing.identity()
    for part in source.parts:
        rows = rows_of(source, part, table, "price")
        # pandas counts days and orders categories itself; its code of a missing value is -1.
        brand = pandas.Categorical(rows["brand"]).codes
        days = (pandas.to_datetime(rows["sold"]) - pandas.Timestamp(0)).dt.days
        expected = [rows["power"], rows["doors"], days, np.where(brand < 0, 3, brand), rows["leased"]]
        inputs = getattr(source, f"{part}_inputs")
        np.testing.assert_array_equal(inputs, np.stack(expected, axis=1).astype("float32"))
    assert len(set(source.train_targets[:, 0]) & set(source.test_targets[:, 0])) == 0
    again = zoo.load_source(source.as_dict())
    np.testing.assert_array_equal(again.test_inputs, source.test_inputs)
    assert (again.table, again.fingerprint) == (source.table, source.fingerprint)
    (tmp_path / "cars.csv").write_text((tmp_path / "cars.csv").read_text().replace("Fiat", "Seat"))
    with pytest.raises(ValueError, match="has changed since"):
        zoo.load_source(source.as_dict())


def test_the_split_depends_on_seed_and_fraction_alone(tmp_path):
    first, again = (load(tmp_path, target="price", split_seed=1, test_fraction=0.5) for _ in range(2))
    np.testing.assert_array_equal(first.test_targets, again.test_targets)
    assert len(first.test_targets) == 60
    other = load(tmp_path, target="price", split_seed=2, test_fraction=0.5)
    assert not np.array_equal(first.test_targets, other.test_targets)


TASKS = {
    "text": (["cheap", "dear", "fair"] * 40, ("cheap", "dear", "fair")),
    "booleans": ([True, False] * 60, ("false", "true")),
    "few whole numbers": ([10, 9, 2] * 40, ("2", "9", "10")),
    "text that looks missing": (["None", "mild"] * 60, ("None", "mild")),
    "many whole numbers": (range(ROWS), ()),
    "a few whole numbers too many": ([*range(21)] * 5 + [0] * 15, ()),
    "floats": ([1.0, 2.0] * 60, ()),
}


@pytest.mark.parametrize("kind", TASKS)
def test_the_target_says_the_task(tmp_path, kind):
    values, class_names = TASKS[kind]
    source = load(tmp_path, frame(price=values), target="price")
    assert (source.task, source.class_names) == ("classification" if class_names else "regression", class_names)
    if class_names:
        names = [str(value).lower() if isinstance(value, bool) else str(value) for value in values]
        found = np.concatenate([source.train_targets, source.test_targets])
        assert sorted(source.class_names[label] for label in found) == sorted(names)
        share = np.bincount(source.test_targets) / (
            np.bincount(source.test_targets) + np.bincount(source.train_targets)
        )
        np.testing.assert_allclose(share, 0.2)


def test_the_task_and_the_kinds_can_be_said(tmp_path):
    few = frame(price=[1, 2] * 60)
    assert load(tmp_path, few, target="price", task="regression").target_names == ("price",)
    assert load(tmp_path, frame(price=[0.5, 1.5] * 60), target="price", task="classification").class_names == (
        "0.5",
        "1.5",
    )
    kinds = {"doors": "category", "sold": "ignore", "name": "category"}
    source = load(tmp_path, target="price", columns=kinds, quiet=True)
    assert source.table.names == ("power", "name", "doors", "brand", "leased")
    assert source.table.inputs[2].values == ("3", "5")
    # No two cars have one name, so those for testing are all unknown.
    assert set(source.test_inputs[:, 1]) == {96}
    assert zoo.load_source(source.as_dict()).table == source.table


def test_several_targets_are_a_regression(tmp_path):
    for target in ("price,power", ["price", "power"]):
        source = load(tmp_path, frame(power=np.linspace(50, 90, ROWS)), target=target)
        assert (source.task, source.target_names) == ("regression", ("price", "power"))
        assert "power" not in source.table.names and source.train_targets.shape == (96, 2)
    assert load(tmp_path, frame(**{"a,b": range(ROWS)}), target="a,b").target_names == ("a,b",)


def test_columns_without_use_are_ignored_with_a_warning(tmp_path):
    with pytest.warns(UserWarning) as caught:
        path = tmp_path / "cars.csv"
        frame(row=range(1, ROWS + 1), time=1_700_000_000 + np.arange(ROWS) % 50, empty="").to_csv(path, index=False)
        source = zoo.load_source(path, target="price")
    messages = sorted(str(warning.message) for warning in caught)
    assert messages[2] == "Ignored columns with only one value: wheels, empty"
    assert messages[1].startswith("Ignored columns of text that differs in most rows, ") and messages[1].endswith(
        ": name"
    )
    assert messages[0].startswith("Columns that only count the rows, ") and messages[0].endswith(": row")
    assert messages[3].startswith("The column 'time' has values up to 1.70000005e+09, which float32 rounds by up to ")
    assert len(messages) == 4
    assert {warning.filename for warning in caught} == {__file__}
    assert {"row", "time"} < set(source.table.names)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        zoo.load_source(source.as_dict())


def test_a_category_that_one_value_and_missing_ones_make_is_kept(tmp_path):
    options = [None, "sunroof"] * 60
    assert load(tmp_path, frame(option=options), target="price").table.inputs[-1].values == ("sunroof",)


def test_a_huge_integer_is_a_number(tmp_path):
    source = load(tmp_path, frame(doors=[3 * 10**30, 5 * 10**30] * 60), target="price")
    assert set(source.train_inputs[:, 1]) == {np.float32(3e30), np.float32(5e30)}


def test_a_split_column_says_the_parts(tmp_path):
    table = frame(split=["train"] * 80 + ["Val"] * 20 + ["test"] * 20)
    source = load(tmp_path, table, target="price", split_column="split", quiet=True)
    assert source.parts == ("train", "validation", "test") and "split" not in source.table.names
    np.testing.assert_array_equal(source.validation_targets[:, 0], np.float32(table["price"][80:100]))
    table = frame(split=["train"] * 80 + ["valid"] * 40)
    np.testing.assert_array_equal(
        load(tmp_path, table, target="price", split_column="split").test_targets[:, 0], np.float32(table["price"][80:])
    )
    # Values that only test rows have are unknown, and so are their classes.
    table = frame(brand=["Audi", "BMW"] * 40 + ["Fiat"] * 40, split=["train"] * 80 + ["test"] * 40)
    source = load(tmp_path, table, target="price", split_column="split")
    assert source.table.inputs[-2].values == ("Audi", "BMW") and set(source.test_inputs[:, -2]) == {2}


def test_files_of_a_folder_are_the_parts(tmp_path):
    table, folder = frame(), tmp_path / "cars"
    folder.mkdir()
    table[:80].to_csv(folder / "train.csv", index=False)
    table[80:].to_csv(folder / "test.tsv", index=False, sep="\t")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = zoo.load_source(folder, target="price")
    np.testing.assert_array_equal(source.train_targets[:, 0], np.float32(table["price"][:80]))
    np.testing.assert_array_equal(source.test_targets[:, 0], np.float32(table["price"][80:]))
    assert zoo.load_source(source.as_dict()).fingerprint == source.fingerprint
    with pytest.raises(ValueError, match="Expected split_column to be None, because the files say the parts"):
        zoo.load_source(folder, target="price", split_column="brand")
    table[80:].drop(columns="price").to_csv(folder / "test.tsv", index=False, sep="\t")
    with pytest.raises(ValueError, match="Expected target to be one of brand, .* Received: 'price'"):
        zoo.load_source(folder, target="price")
    table.to_csv(folder / "val.csv", index=False)
    (folder / "train.csv").rename(folder / "validation.csv")
    with pytest.raises(ValueError, match="Expected one table of each part in .* Received: val.csv, validation.csv"):
        zoo.load_source(folder, target="price")
    (folder / "val.csv").unlink()
    with pytest.raises(ValueError, match="Expected train.csv in"):
        zoo.load_source(folder, target="price")


def test_other_data_are_read_like_those_of_a_record(tmp_path):
    table = frame(kind=["cheap", "dear"] * 60)
    record = load(tmp_path, table, target="kind").as_dict()
    other = table.assign(brand=["Fiat", "Seat"] * 60, doors=5).iloc[:, ::-1]
    source = load(tmp_path, other, like=record, test_fraction=0.5)
    assert source.table.to_dict() == record["table"] and source.class_names == ("cheap", "dear")
    assert set(source.test_inputs[:, list(source.table.names).index("brand")]) == {2, 3}
    with pytest.raises(ValueError, match="one of the classes cheap, dear in column 'kind' of .*: 'new' in row 121"):
        load(tmp_path, pandas.concat([table[:119], table[119:].assign(kind="new")]), like=record)


WRONG = {
    "Expected target, the column to predict: one of name, power, .*, price. Received: none": {},
    "Expected target to be one of brand, .* Received: 'prize'. Did you mean price?": {"target": "prize"},
    "Expected target to be one of brand, .* Received: 'cost'": {"target": "price,cost"},
    "Expected each target once. Received: target='price,price'": {"target": "price,price"},
    "Expected task to be one of classification, regression, segmentation. Received: 'ranking'": {
        "target": "price",
        "task": "ranking",
    },
    "Expected the task of a table to be .* Received: task='segmentation' with the columns price": {
        "target": "price",
        "task": "segmentation",
    },
    "Received: task='classification' with the columns price, power": {
        "target": "price,power",
        "task": "classification",
    },
    "Expected split_column to be one of .* Received: 'part'": {"target": "price", "split_column": "part"},
    "in the split column 'brand' of .* Received: '.*' in row 2": {"target": "price", "split_column": "brand"},
    "Expected a name in columns to be one of .* Received: 'door'. Did you mean doors?": {
        "target": "price",
        "columns": {"door": "category"},
    },
    "Expected the kind of the column 'doors' to be one of category, date, ignore, number. Received: 'text'": {
        "target": "price",
        "columns": {"doors": "text"},
    },
    "kinds of inputs alone; task='classification' .* Received: columns={'doors': 'category'}": {
        "target": "doors",
        "columns": {"brand": "category", "doors": "category"},
    },
    "the split column has no kind. Received: columns={'brand': 'category'}": {
        "target": "price",
        "split_column": "brand",
        "columns": {"brand": "category"},
    },
    "a finite number, or nothing, in column 'brand'. Received: '.*' in row": {
        "target": "price",
        "columns": {"brand": "number"},
    },
    "Expected a value of the target 'power' in every row of .* Received: none in row .* and .* more": {
        "target": "power"
    },
    "Expected a value of the target 'brand' in every row": {"target": "brand"},
    "a finite number, or nothing, in column 'name'. Received: 'car 0' in row 2": {
        "target": "name",
        "task": "regression",
    },
    "Expected at least two examples of each class to split. Received: one of 'car 0'": {"target": "name"},
}


@pytest.mark.parametrize("message", WRONG)
def test_a_wrong_option_is_refused(tmp_path, message):
    with pytest.raises(ValueError, match=message):
        load(tmp_path, **WRONG[message])


ODD = {
    "Expected rows below the names of the columns in": "a,price\n",
    "Expected the names of the columns": "",
    "Expected columns that differ, beside price, in .* Received: none": "price\n1.5\n2.5\n3.5\n",
    "numbers such as 1234.5, .* in column 'a' .* 'x' in row 3, and 1 more": "a,price\n1,1\nx,3\n4,4\n7,2\ny,5\n",
    "in column 'a' .* Received: 'inf' in row 3$": "a,price\n1,1\ninf,3\n4,4\n",
    "in column 'a' .* Received: '03/04/2020' in row 2, and 1 more": "a,price\n03/04/2020,1.5\n23/04/2020,2\n",
    "in column 'a' .* Received: '1,234.50' in row 2, and 1 more": 'a,price\n"1,234.50",1.5\n"2,000.00",2\n',
    "in column 'a' .* Received: '1.234,5' in row 2, and 1 more": "a;price\n1.234,5;1,5\n2.000,5;2,5\n",
    "in column 'a' .* Received: '5 %' in row 2, and 2 more": "a,price\n5 %,1.5\n6 %,2\n7.5%,3\n",
    "in column 'a' .* Received: '€ 5' in row 2": "a,price\n€ 5,1.5\n€ 6,2\n7,3\n",
}


@pytest.mark.parametrize("message", ODD)
def test_an_odd_file_is_refused(tmp_path, message):
    with pytest.raises(ValueError, match=message):
        load(tmp_path, ODD[message], target="price")


@pytest.mark.parametrize(
    ("text", "inputs"),
    [
        ("\ufeffa;price\n1,5;2,5\n2;3,5\n3;4,5\n", [1.5, 2, 3]),
        ('"a, b"\tprice\n1\t2.5\n"2"\t3.5\n\n 3 \t4.5', [1, 2, 3]),
        (",a,price\n0,7,2.5\n1,8,3.5\n2,9,4.5\n", [7, 8, 9]),
    ],
)
def test_an_odd_file_is_read(tmp_path, text, inputs):
    source = load(tmp_path, text, target="price", quiet=True)
    assert sorted(np.concatenate([source.train_inputs, source.test_inputs])[:, 0]) == inputs
    assert sorted(np.concatenate([source.train_targets, source.test_targets])[:, 0]) == [2.5, 3.5, 4.5]


def test_options_of_tables_are_refused_for_others(tmp_path):
    for name in ("digits", tmp_path):
        with pytest.raises(ValueError, match="Expected target and columns only for a table. Received: "):
            zoo.load_source(name, target="price", columns={"a": "number"})
    with pytest.raises(
        ValueError, match="Expected the task of 'digits' to be classification. Received: task='regression'"
    ):
        zoo.load_source("digits", task="regression")
