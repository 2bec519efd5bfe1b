"""Files of tables give what pandas reads from them, and odd ones an error that names the row."""

import gzip
import sys

import numpy as np
import pandas
import pytest

from export.table_files import read_table
from export.tables import number


def write(tmp_path, content, name="table.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def frame():
    rng = np.random.default_rng(0)
    return pandas.DataFrame(
        {
            "length": np.where(rng.random(50) < 0.2, np.nan, rng.normal(size=50) * 1e-7),
            "count": rng.integers(-(10**12), 10**12, 50),
            'a "quoted", name': rng.choice(["plain", "with, comma", 'with "quotes"', "two\nlines", "ümlaut"], 50),
            "yes": rng.random(50) < 0.5,
        }
    )


FORMS = {
    "csv": ("table.csv", {}),
    "with the index": ("table.csv", {"index": True}),
    "semicolons": ("table.csv", {"sep": ";"}),
    "decimal commas": ("table.csv", {"sep": ";", "decimal": ","}),
    "tabs": ("table.tsv", {"sep": "\t"}),
    "bars": ("table.csv", {"sep": "|"}),
    "gzip": ("table.csv.gz", {}),
    "a mark": ("table.csv", {"encoding": "utf-8-sig"}),
    "UTF-16": ("table.csv", {"encoding": "utf-16"}),
    "Windows": ("table.csv", {"lineterminator": "\r\n"}),
    "all quoted": ("table.csv", {"quoting": 1}),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_file_of_pandas_is_read(tmp_path, form):
    name, options = FORMS[form]
    written = frame()
    written.to_csv(tmp_path / name, **{"index": False} | options)
    table = read_table(tmp_path / name)
    assert list(table) == list(written)
    for column in ("length", "count"):
        np.testing.assert_array_equal([number(value) for value in table[column]], written[column].astype("float64"))
    assert list(table['a "quoted", name']) == list(written['a "quoted", name'])
    assert list(table["yes"]) == list(map(str, written["yes"]))
    # Two lines of the file may be one row, whose number is that of the last.
    assert table.rows[-1] == 51 + sum("\n" in text for text in written['a "quoted", name'])
    assert len(read_table(tmp_path / name, most=3).rows) == 3


def test_the_delimiter_is_that_of_the_rows_where_a_name_has_another_one():
    assert list(read_table(b"price, net;count\n1;2\n3;4\n")) == ["price, net", "count"]


@pytest.mark.parametrize("lines", [2, 3, 4, 5, 30])
def test_the_first_lines_may_end_in_the_middle_of_a_text(tmp_path, lines):
    written = pandas.DataFrame({"text": ["\n".join("x" * lines)] * 9, "count": range(9)})
    written.to_csv(tmp_path / "table.csv", sep=";", index=False)
    table = read_table(tmp_path / "table.csv")
    assert {name: list(table[name]) for name in table} == written.astype(str).to_dict("list")


@pytest.mark.parametrize(
    "text", ["1_000", "0x10", "1,000", "1 000", "inf", "-Infinity", "1e999", "--1", "½", "true", True, np.True_]
)
def test_what_python_or_a_reader_may_take_for_a_number_is_none(text):
    with pytest.raises(ValueError):
        number(text)


@pytest.mark.parametrize(
    "text", ["", " ", "NaN", "nan", "NA", "N/A", "n/a", "#N/A", "<NA>", "NULL", "null", "None", "?"]
)
def test_spellings_of_missing_values(tmp_path, text):
    assert np.isnan(number(text))
    read = pandas.read_csv(write(tmp_path, f"a,b\n{text},1\n2,2\n"), na_values=["?"])
    assert text == " " or read["a"].isna().tolist() == [True, False]


def test_decimal_commas_become_points_unless_the_column_has_points_too():
    table = read_table(b"a;b;c;d\n1,5;1,5;1,2,3;2\n;x;1,5;\n-,25e3;1,5;1,5;-7\n")
    assert [number(value) for value in table["a"]][::2] == [1.5, -250.0]
    assert table["b"] == ["1.5", "x", "1.5"]
    assert table["c"][0] == "1,2,3"
    assert read_table(b"a;b\n1,5;2\n1.234;3\n")["a"] == ("1,5", "1.234")
    assert table["d"] == ["2", "", "-7"]
    # Beside commas, a comma in quotes is text.
    assert read_table(b'a,b\n"1,5",2\n')["a"] == ("1,5",)


WRONG = {
    "Expected the names of the columns in the first line of .* Received: nothing": ["", "\n\n", "\ufeff", " , \n1,2\n"],
    "Received: only numbers": ["1,2\n3,4\n", "1.5;2\n3;4\n"],
    "Expected a different name for each column of .* Received: a twice": ["a,b,a\n1,2,3\n", "a, a\n1,2\n"],
    "Expected 2 values in each row of .*table.csv.*. Received: 3 in row 3": ["a,b\n1,2\n1,2,3\n", "a;b\n1;2\n1;2;3"],
    "Received: 1 in row 5": ["a,b\n1,2\n\n3,4\n5\n"],
    "Expected a name for each column in the first line of .* Received: none for column 2": ["a,,b\n1,2,3\n"],
    "Received: none for column 1": [",b\n3,2\n"],
    "Expected a CSV in UTF-8. Received: .*table.csv": [
        "a,b\né,1\n".encode("latin-1"),
        'a,b\n"1,2\n',
        'a,b\n"1"x,2\n',
        b"\xff\xfea",
        gzip.compress(b"a,b\n1,2\n")[:-9],
        b"\x1f\x8b\x08rubbish",
    ],
}


@pytest.mark.parametrize("message", WRONG)
def test_a_file_that_is_no_table_is_refused(tmp_path, message):
    for content in WRONG[message]:
        with pytest.raises(ValueError, match=message):
            read_table(write(tmp_path, content))


def test_a_missing_file_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_table(tmp_path / "nothing.csv")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match="needs pyarrow: pip install pyarrow"):
        read_table(write(tmp_path, b"", "table.parquet"))


def test_parquet_is_read_as_pandas_writes_it(tmp_path):
    pytest.importorskip("pyarrow")
    written = frame()
    written["day"] = pandas.Timestamp("2024-02-29 12:00")
    written[written["count"] > 0].to_parquet(tmp_path / "table.parquet")
    table = read_table(tmp_path / "table.parquet")
    assert list(table) == list(written)
    np.testing.assert_array_equal([number(value) for value in table["length"]], written["length"][written["count"] > 0])
    assert len(read_table(tmp_path / "table.parquet", most=3).rows) == 3
    with pytest.raises(ValueError, match="Expected a Parquet file. Received: .*no.parquet"):
        read_table(write(tmp_path, b"PAR1PAR1", "no.parquet"))
