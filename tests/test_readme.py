"""What the README shows works: its examples run, one after the other, and its two commands are what CI calls."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_examples_run_in_order(tmp_path):
    examples = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(examples) == 4
    script = tmp_path / "readme.py"
    script.write_text("\n".join(examples), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "residual_mlp" in result.stdout
    assert (tmp_path / "runs" / "residual" / "export" / "model.onnx").is_file()


@pytest.mark.parametrize("target", ["demo", "test"])
def test_the_two_commands_are_targets_of_the_makefile(target):
    assert f"    make {target} " in README
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_ci_calls_the_readmes_test_command():
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_the_picture_is_there_and_shows_every_kind():
    picture = re.search(r"!\[[^\]]+\]\((\S+)\)", README).group(1)
    assert (ROOT / picture).read_text(encoding="utf-8").startswith("<?xml")
