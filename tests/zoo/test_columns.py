"""Tables as text: whole words and numbers in any room, and whole rows where there is no terminal."""

import io
import re
import sys

import pytest

from zoo.cli import console
from zoo.cli.columns import lines
from zoo.networks.registry import list_models
from zoo.reports import listing, results

TABLES = {
    "list": (listing.COLUMNS, listing.rows(list_models())),
    "results": results.short(),
    "record": ((), [("SHA-256", "ab" * 32), ("under onnxruntime", "98.33%"), ("folder", "runs/with/a/long/path" * 5)]),
}


@pytest.mark.parametrize("room", [20, 40, 80, 100])
@pytest.mark.parametrize("table", TABLES)
def test_no_word_is_broken_or_lost(table, room):
    _, rows = TABLES[table]
    written = list(lines((), rows, room))
    # A line is longer than the room only where one word is.
    assert all(len(line) <= room or len(line.split()) == 1 for line in written)
    assert sorted(" ".join(written).split()) == sorted(word for row in rows for cell in row for word in cell.split())


def test_a_line_is_as_wide_as_the_room_at_most_unless_one_word_is_wider():
    for line in lines(*TABLES["list"], 80):
        assert len(line) <= 80
    assert list(lines((), [("file", "x" * 90)], 80)) == ["file", "    " + "x" * 90]


def test_names_are_whole_and_the_others_share_what_room_is_left():
    row = ("under onnxruntime", "one two three", "four five six")
    assert list(lines((), [row], 39)) == [
        "under onnxruntime  one two    four five",
        "                   three      six",
    ]


def test_cells_wrap_at_spaces_and_what_has_no_room_comes_below():
    columns = ("name", "what it is", "parameters", "recipes")
    row = ("resnet20", "a residual network", "269,722", "resnet20_cifar10, resnet20_digits")
    assert list(lines(columns, [row], 36)) == [
        "name      what it is      parameters",
        "-" * 36,
        "resnet20  a residual      269,722",
        "          network",
        "    recipes: resnet20_cifar10,",
        "    resnet20_digits",
    ]
    assert list(lines(columns, [(*row[:3], "")], 36))[-1] == "          network"


def test_without_a_terminal_each_row_is_one_line():
    columns, rows = TABLES["list"]
    heading, rule, *written = lines(columns, rows)
    assert len(written) == len(rows)
    for line, row in zip(written, rows, strict=True):
        assert line.split("  ")[0] == row[0] and " ".join(line.split()) == " ".join(" ".join(row).split())
    places = [heading.index(name) for name in columns]
    for line, row in zip(written, rows, strict=True):
        assert all(line[place:].startswith(cell) for place, cell in zip(places, row, strict=True))


def test_wide_characters_take_two_places():
    assert list(lines(("name", "n"), [("猫", "1"), ("ab", "2")], 80)) == ["name  n", "-------", "猫    1", "ab    2"]


@pytest.mark.parametrize(
    ("terminal", "written"),
    [(False, ["[red]x  " + "a" * 50, "y       in several words"]), (True, ["[red]x", "    path:", "    " + "a" * 50])],
)
def test_the_command_line_asks_whether_there_is_a_terminal(terminal, written, monkeypatch, capsys):
    for name, value in {"COLUMNS": "40", "TERM": "xterm", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    console.show_table("Title", ("name", "path"), [("[red]x", "a" * 50), ("y", "in several\nwords")])
    # What is in square brackets is no style of Rich's.
    assert set(written) <= set(capsys.readouterr().out.splitlines())


def test_a_table_of_nothing_has_its_heading(capsys):
    console.show_table("Title", ("name", "path"), [])
    assert capsys.readouterr().out.split() == ["Title", "name", "path", "----------"]


def test_columns_can_be_told_apart_by_a_program(monkeypatch, capsys):
    """As `awk -F '  +'` does: no cell is empty, except on a terminal."""
    show = "Title", ("name", "error", "recipe"), [("a", "", "one two"), ("b", "3 %", "")]
    console.show_table(*show)
    _, heading, _, *rows = capsys.readouterr().out.rstrip("\n").split("\n")
    assert [re.split("  +", row) for row in rows] == [["a", "-", "one two"], ["b", "3 %", "-"]]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    console.show_table(*show)
    assert "-" not in capsys.readouterr().out.splitlines()[3]


def test_what_the_output_cannot_encode_appears_escaped(monkeypatch):
    output = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", output)
    console.show_table("Café", ("name", "n"), [("茶", "1")])
    output.flush()
    assert output.buffer.getvalue().decode("ascii").split() == [r"Caf\xe9", "name", "n", "-------", r"\u8336", "1"]
