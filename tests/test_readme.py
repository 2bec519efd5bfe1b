"""The README's pictures and targets are there, and it prints what it says. Its examples run in test_pages.py."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_first_screen_installs_classifies_and_trains():
    install, classify, train = (
        README.index(part) for part in ("pip install", "classifier.classify", "keras-skip train")
    )
    assert install < classify < train
    assert README[:train].count("\n") <= 40
    (example,) = re.findall(r"^```python\n(.*?)^```$", README[:train], re.M | re.S)
    assert len(example.split("\n")) <= 5


def test_there_are_five_examples():
    assert len(re.findall(r"^```python$", README, flags=re.MULTILINE)) == 5


@pytest.mark.parametrize("target", ["help", "demo", "test"])
def test_the_commands_are_targets_of_the_makefile(target):
    assert f"    make {target} " in README
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_ci_calls_the_readmes_test_command():
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_the_pictures_are_there():
    pictures = re.findall(r"!\[[^\]]+\]\((\S+)\)", README)
    assert len(pictures) == 5
    for picture in pictures:
        start = (ROOT / picture).read_bytes()[:8]
        assert start.startswith(b"<?xml" if picture.endswith(".svg") else b"\x89PNG"), picture


def test_a_commit_is_linted_as_ci_does_it():
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert re.findall(r"entry: (.+)", hooks) == ["make lint"]
    assert "make lint" in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_contributing_is_short_and_names_what_is_there():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 80
    named = re.findall(r"`((?:keras_skip|zoo|export|tests|docs|benchmarks)/[\w/.]*)`", text)
    assert len(named) > 15
    assert not [path for path in named if not (ROOT / path).exists()]
