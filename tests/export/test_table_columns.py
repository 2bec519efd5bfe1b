"""Columns of a table become the numbers that a network takes, in training and in serving alike."""

import json
from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pytest

from export.table_files import read_table
from export.tables import Column, Columns, number

TOWNS = Column("town", "category", ("Bath", "York", "1", "true"))
COLUMNS = Columns((Column("age"), Column("born", "date"), TOWNS), targets=("rent",))


def table(**changes):
    return {"town": ["York"] * 2, "born": ["", "1970-01-02"], "age": ["41", "?"], "more": ["x", "y"]} | changes


def test_columns_are_found_by_name_and_encoded_in_their_own_order():
    expected = np.array([[41, np.nan, 1], [np.nan, 1, 1]], "float32")
    found = COLUMNS.encode(table())
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
    csv = read_table(b"more;born;town;age\nx;;York;41\ny;1970-01-02;York;?\n")
    np.testing.assert_array_equal(COLUMNS.encode(csv), expected)
    assert COLUMNS.categories == (4,)


def test_values_that_are_missing_or_were_not_in_training_share_an_index():
    values = ["Bath", " York ", "york", "Rome", "", "NA", None, float("nan"), 1, 1.0, "1.00", "TRUE", True, np.True_]
    expected = [0, 1, 4, 4, 4, 4, 4, 4, 2, 2, 2, 3, 3, 3]
    np.testing.assert_array_equal(TOWNS.encode(values), expected)


@pytest.mark.parametrize(
    "values", [["1", "", "-2.5e3"], ["1", "NA"], ["nan", " 7 "], [1, None, 2.5], ["1", 2], [np.float32(0.5), "?"], []]
)
def test_numbers_are_read_alike_however_they_are_mixed(values):
    expected = [number(value) for value in values]
    np.testing.assert_array_equal(Column("age").encode(values), np.array(expected, "float64"))


def test_dates_are_days():
    east = timezone(timedelta(hours=6))
    values = ["2000-03-01", "2000-03-01T12:00", "2000-03-01 18:00:00+06:00", date(2000, 3, 1), "1969-12-31", None]
    values += [
        datetime(2000, 3, 1, 6, tzinfo=east),
        datetime(2000, 3, 1, 0, tzinfo=UTC),
        np.datetime64("2000-03-01", "ns"),
    ]
    # NumPy counts the days itself.
    day = int(np.datetime64("2000-03-01").astype("int64"))
    expected = [day, day + 0.5, day + 0.5, day, -1, np.nan, day, day, day]
    np.testing.assert_array_equal(Column("born", "date").encode(values), expected)


def test_the_record_is_plain_and_complete():
    assert Columns.from_dict(json.loads(json.dumps(COLUMNS.to_dict()))) == COLUMNS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"age": ["1", "1_000"]}, "finite number, or nothing, in column 'age'. Received: '1_000' in row 2"),
        ({"age": ["1", "x"]}, "Expected a finite number, or nothing, in column 'age'. Received: 'x' in row 2"),
        ({"age": ["inf", "1"]}, "finite number, or nothing, in column 'age'. Received: 'inf' in row 1"),
        ({"age": ["1", "1e39"]}, "finite number, or nothing, in column 'age'. Received: '1e39' in row 2"),
        ({"age": ["1", [2]]}, r"finite number, or nothing, in column 'age'. Received: \[2\] in row 2"),
        ({"age": [True, 1]}, "finite number, or nothing, in column 'age'. Received: True in row 1"),
        ({"born": ["", "31.1.2024"]}, "a date such as 2024-01-31, or nothing, in column 'born'. Received: '31.1.2024'"),
        (
            {"born": ["", "2023-02-29"]},
            "a date such as 2024-01-31, or nothing, in column 'born'. Received: '2023-02-29'",
        ),
        ({"born": ["", "20240131"]}, "a date such as 2024-01-31, or nothing, in column 'born'. Received: '20240131'"),
        ({"age": ["1"]}, "Expected columns of equal length. Received: {'age': 1, 'born': 2, 'town': 2}"),
    ],
)
def test_a_wrong_value_is_named_by_column_and_row(changes, message):
    with pytest.raises(ValueError, match=message):
        COLUMNS.encode(table(**changes))


def test_rows_have_the_numbers_of_the_file():
    with pytest.raises(ValueError, match="column 'age'. Received: 'x' in row 4"):
        COLUMNS.encode(read_table(b"age,born,town\n1,,York\n\nx,,Bath\n"))


def test_a_missing_column_is_named():
    with pytest.raises(ValueError, match="Expected the columns age, born, town. Received: none called age, town"):
        COLUMNS.encode({"born": []})


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Column("a", "text"),
        lambda: Column("a", "category"),
        lambda: Column("a", "number", ("x",)),
        lambda: Columns(()),
        lambda: Columns((TOWNS, Column("age"))),
        lambda: Columns.from_dict({}),
        lambda: Columns.from_dict({"inputs": [{"name": "a", "unit": "kg"}]}),
        lambda: Columns.from_dict({"inputs": [{"name": "a"}], "other": 1}),
    ],
)
def test_a_wrong_record_is_refused(wrong):
    with pytest.raises(ValueError, match="Expected"):
        wrong()
