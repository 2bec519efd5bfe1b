"""The README's pictures are there, and its two commands are what CI calls. Its examples run in test_pages.py."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_there_are_four_examples():
    assert len(re.findall(r"^```python$", README, flags=re.MULTILINE)) == 4


@pytest.mark.parametrize("target", ["demo", "test"])
def test_the_two_commands_are_targets_of_the_makefile(target):
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
