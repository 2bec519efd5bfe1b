"""Pages name benchmarks that are there, and the pages of their results say what the files say."""

import importlib
import re
from pathlib import Path

import pytest

from benchmarks import page
from benchmarks.export import exporters, published
from benchmarks.export.matrix.cells import measure_cells
from benchmarks.export.matrix.page import render_page
from benchmarks.export.matrix.results import CSV, PASSED, list_waiting, read_rows
from benchmarks.export.matrix.settings import BATCHES
from benchmarks.export.matrix.subjects import Subject, list_subjects
from benchmarks.published import Network
from tests.export.models import mlp

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "benchmarks").rglob("*.py"))
FILES = [*(ROOT / name for name in ("Makefile", "README.md", "CONTRIBUTING.md")), *(ROOT / "docs").rglob("*.md")]
TEXTS = {path: path.read_text(encoding="utf-8") for path in (*FILES, *SOURCES, *(ROOT / "benchmarks").rglob("*.md"))}
# By the name that follows `python -m`; these run by their paths, in interpreters that may have nothing else.
COMMANDS = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__"): path
    for path in SOURCES
    if "def main(" in TEXTS[path] and path.name not in ("pytorch.py", "runner.py")
}


def find(pattern):
    return [(path.name, named) for path, text in TEXTS.items() for named in re.findall(pattern, text)]


def test_commands_that_pages_name_are_there():
    named = find(r"python\s+-m\s+(benchmarks[\w.]*)")
    assert len(named) > 20 and not [pair for pair in named if pair[1] not in COMMANDS]


def test_files_that_pages_name_are_there():
    named = find(r"\b(benchmarks/[\w/]+(?:\.\w+)?)")
    assert len(named) > 20 and not [pair for pair in named if not (ROOT / pair[1]).exists()]


def test_the_parts_of_make_bench_are_commands():
    assert {part.module for part in page.PARTS.values()} <= COMMANDS.keys()


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_says_how_it_is_called(command):
    name = f"{command}.__main__" if COMMANDS[command].name == "__main__.py" else command
    module = importlib.import_module(name)
    assert callable(module.main) and f"    python -m {command} " in module.__doc__


def test_the_page_of_the_results_says_what_the_files_say():
    assert (page.RESULTS / "README.md").read_text(encoding="utf-8") == page.render_page()


def test_the_page_of_the_matrix_says_what_the_rows_say():
    rows = read_rows()
    page = render_page(rows, list_waiting(list_subjects("*"), rows))
    assert CSV.with_suffix(".md").read_text(encoding="utf-8") == page


def test_the_matrix_takes_newer_opsets_for_small_networks():
    small, large = (Subject(name, "network", 3, size) for name, size in (("small", 5_000_000), ("large", 5_000_001)))
    done = [{"subject": "small", "weights": "", "opset": "21", "precision": name} for name in ("fp32", "fp16", "int8")]
    waiting = {subject.name: list(missing) for subject, missing in list_waiting([small, large], done, (18, 21, 23))}
    assert waiting == {"small": [18, 23], "large": [18]}


def test_the_matrix_measures_a_layer(tmp_path):
    subject = Subject("residual-0d", "layer", 3, 0)
    subject.open(sources=None)
    rows = measure_cells(subject, 17, ["fp32"], tmp_path)
    assert [(row["batch"], row["result"]) for row in rows] == [(batch, PASSED) for batch in BATCHES]


def test_a_crash_or_a_timeout_becomes_a_row_of_the_table(monkeypatch):
    monkeypatch.setattr(published, "SHARED", ())
    crashed, raised = (published.measure(Network("x", path), 5) for path in ("os:abort", "json:loads"))
    assert not crashed["built"] and crashed["keras-skip"]["result"] == "crashed"
    assert not raised["built"] and "TypeError" in raised["error"]
    assert published.run_case(Network("x", "signal:pause"), ["keras"], 0.01)["keras"]["result"] == "too slow"


@pytest.mark.filterwarnings("ignore:In the future `np.object`")
@pytest.mark.parametrize("wrong", [False, True])
def test_the_file_of_the_other_exporter_is_held_to_the_answers_of_the_network(wrong, monkeypatch, tmp_path):
    model, other = mlp(), mlp()
    if wrong:
        other.set_weights([w * 1.001 for w in other.get_weights()])
    other(exporters.draw(other))
    endpoint, reference, _ = exporters.compute_answers(model)
    monkeypatch.setattr(model, "export", other.export)
    found = exporters.judge("keras", model, endpoint, reference, tmp_path / "keras.onnx")
    assert found["result"] == ("differs" if wrong else "proven"), found
    assert found["nodes"] > 3
