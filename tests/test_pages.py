"""What the README and the pages in docs/ show works.

Each Python block runs alone in a folder with nothing but photo.jpg; where blocks need those before them, the page says
so in the words of `CONTINUED`, and runs from top to bottom. So do the README's shell blocks, twice; elsewhere a line
for the shell that begins with `keras-skip` is read by the command line itself, as far as its options and arguments go.
"""

import ast
import functools
import re
import shlex
from pathlib import Path

import pytest
import typer
from PIL import Image
from sklearn.datasets import load_sample_image
from typer.testing import CliRunner

import zoo.cli

ROOT = Path(__file__).parents[1]
PAGES = {str(path.relative_to(ROOT)): path for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))}
BLOCK = re.compile(r"^```(\w+)?[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(text, language):
    return [(found[2], text[: found.start(2)].count("\n")) for found in BLOCK.finditer(text) if found[1] == language]


CONTINUED = "The Python blocks on this page build on each other."


def programs(page, text):
    """A page's Python: one program for each block, or one for all where they continue each other.

    Each block stands on the lines that it has in the page, so that an error names the page's line.
    """
    sources = [""]
    for block, start in blocks(text, "python"):
        before = sources.pop() if CONTINUED in " ".join(text.split()) else ""
        sources.append(before + "\n" * (start - before.count("\n")) + block)
    return [compile(source, page, "exec") for source in sources if source]


def commands(text):
    """The command lines of a page, and whether each is complete rather than mentioned in a sentence."""
    shell = "".join(block for block, _ in blocks(text, "sh"))
    indented = re.findall(r"^    (keras-skip .*)$", text, re.MULTILINE)
    whole = [line for line in shell.splitlines() if line.startswith("keras-skip ")] + indented
    mentioned = re.findall(r"`(keras-skip [^`]+)`", BLOCK.sub("", text))
    return [(line, True) for line in whole] + [(line, False) for line in mentioned]


UsageError = typer.BadParameter.__base__


@functools.cache
def command_line():
    return typer.main.get_command(zoo.cli.app)


def parse(line, complete=True):
    """Has the command line read it, without running it; what is not complete may lack arguments."""
    _, *words = shlex.split(line.partition(" > ")[0], comments=True)
    app = command_line()
    with app.make_context("keras-skip", list(words)) as context:
        name, command, rest = app.resolve_command(context, words)
        try:
            command.make_context(name, rest, parent=context)
        except UsageError as error:
            if complete or type(error).__name__ != "MissingParameter":
                raise


def test_nothing_is_installed_from_an_index_that_does_not_have_it():
    """The package is not published: what installs it has to name a checkout."""
    texts = [
        *PAGES.values(),
        *(path for package in ("keras_skip", "zoo", "export") for path in (ROOT / package).rglob("*.py")),
    ]
    installed = {name for path in texts for name in re.findall(r"pip install [\"']?([\w.-]+)", path.read_text("utf-8"))}
    assert "." in installed and not [name for name in installed if re.match("keras.?skip", name)]


WITH_PYTHON = [page for page, path in PAGES.items() if blocks(path.read_text(encoding="utf-8"), "python")]
WITH_COMMANDS = [page for page, path in PAGES.items() if commands(path.read_text(encoding="utf-8"))]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where a page runs: only a photo there, caches of its own."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(load_sample_image("flower.jpg")).save("photo.jpg")
    monkeypatch.setenv("KERAS_SKIP_CACHE", str(tmp_path / "cache"))
    return tmp_path


# These need a server and several devices: tests/export/test_serving_page.py and tests/zoo/test_distributed.py run them.
ELSEWHERE = ("docs/serving.md", "docs/several-devices.md")


PROGRAMS = {
    f"{page}:{number}": program
    for page in WITH_PYTHON
    if page not in ELSEWHERE
    for number, program in enumerate(programs(page, PAGES[page].read_text(encoding="utf-8")))
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_python_runs_alone(program, folder):
    exec(PROGRAMS[program], {"__name__": "__main__"})


@pytest.mark.complete
@pytest.mark.parametrize("program", [name for name in PROGRAMS if name.startswith("README.md")])
def test_the_readmes_python_runs_again_over_what_it_has_left(program, folder):
    for _ in range(2):
        exec(PROGRAMS[program], {"__name__": "__main__"})


def test_what_the_readmes_python_writes_may_be_there_already():
    calls = [
        node
        for block, _ in blocks(PAGES["README.md"].read_text("utf-8"), "python")
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]
    writing = [node for node in calls if node.func.attr in ("train", "export")]
    assert {node.func.attr for node in writing} == {"train", "export"}
    assert all("overwrite" in {keyword.arg for keyword in node.keywords} for node in writing)


@pytest.mark.parametrize("block", [block for block, _ in blocks(PAGES["README.md"].read_text("utf-8"), "sh")])
def test_the_readmes_shell_runs_alone_and_twice(block, folder):
    for line in block.splitlines() * 2:
        program, *words = shlex.split(line)
        assert program == "keras-skip"
        done = CliRunner().invoke(zoo.cli.app, words)
        assert done.exit_code == 0, (line, done.output, done.exception)


@pytest.mark.parametrize("page", WITH_COMMANDS)
def test_commands_are_understood(page):
    for line, complete in commands(PAGES[page].read_text(encoding="utf-8")):
        try:
            parse(line, complete)
        except UsageError as error:
            pytest.fail(f"{line}: {error.format_message()}")


@pytest.mark.parametrize(
    "line", ["keras-skip trian x", "keras-skip train x --epoch 3", "keras-skip deploy a --target x", "keras-skip serve"]
)
def test_other_commands_are_not(line):
    with pytest.raises((UsageError, ValueError)):
        parse(line)


PAGE = "Text\n\n```python\nx = 1\n```\n\n```python\nx / 0\n```\n"


def test_lines_of_errors_are_those_of_the_page():
    _, alone = programs("page.md", PAGE)
    (continued,) = programs("page.md", f"{PAGE}{CONTINUED}")
    for program, error in ((alone, NameError), (continued, ZeroDivisionError)):
        with pytest.raises(error) as caught:
            exec(program, {})
        assert (caught.traceback[-1].frame.code.raw.co_filename, caught.traceback[-1].lineno + 1) == ("page.md", 8)
