"""What starts without what, so that it starts quickly; how quickly, benchmarks/imports.py measures."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.processes import run_code

ROOT = Path(__file__).parents[2]

# What comes beside the layers themselves, once Keras is there.
BROUGHT = """
import sys, keras
before = set(sys.modules)
import keras_skip
print(*{name.split(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names))
"""
# Each of the names in turn, as an attribute of what was imported; those that are not there come out.
RESOLVE = """
import sys, zoo, export, keras_skip
for name in sys.argv[1:]:
    here = sys.modules[name.partition(".")[0]]
    for part in name.split(".")[1:]:
        here = getattr(here, part, None)
    if here is None:
        print(name)
"""
HEAVY = "keras", "keras_skip", "matplotlib", "onnxruntime", "sklearn", "tensorflow"
# What tells about networks without building one; a network's arguments are read from its builder's signature.
TELL = f"""
import sys, zoo, zoo.cli
assert zoo.describe("resnet20").arguments["shortcut"] == "pad"
assert "resnet20" in zoo.list_models()
assert zoo.get_recipe("resnet20_digits").network == "resnet20"
for command in (["describe", "densenet121"], ["list"]):
    zoo.cli.app(command, standalone_mode=False)
print()
print(*set(sys.modules).intersection({HEAVY}))
"""
# None in sys.modules makes `import` raise ModuleNotFoundError.
BLOCK = "import sys; sys.modules.update(dict.fromkeys(('keras', 'tensorflow', 'keras_skip', 'tf2onnx')))\n"
IMPORT_EXPORT = BLOCK + "import export; print(*[name for name in export.__all__ if hasattr(export, name)])"


def python(code: str) -> str:
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_keras_skip_brings_nothing_but_itself_once_keras_is_imported():
    assert run_code(BROUGHT, cwd=ROOT).split() == ["keras_skip"]


def test_networks_are_listed_and_described_without_the_heavy_packages():
    *shown, heavy = python(TELL).splitlines()
    assert any(line.startswith("argument ") for line in shown)
    assert heavy == ""


def test_export_imports_whole_where_keras_and_tensorflow_are_missing():
    assert {"export", "verify", "load", "to_onnx", "to_saved_model"} <= set(python(IMPORT_EXPORT).split())


def test_the_block_of_the_test_above_blocks():
    code = BLOCK + "import tensorflow"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 1 and "ModuleNotFoundError" in result.stderr


def test_what_the_documentation_names_is_there_after_importing_the_package():
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
    mentioned = re.compile(r"(?<![\w./])(?:zoo|export|keras_skip)(?:\.[A-Za-z]\w*)+")
    found = {name for page in pages for name in mentioned.findall(page.read_text(encoding="utf-8"))}
    names = {name for name in found if not name.endswith((".md", ".py"))}
    assert {"zoo.charts", "zoo.devices.select", "zoo.speed.measure", "export.Predictor"} <= names
    assert run_code(RESOLVE, *sorted(names), "zoo.nothing", cwd=ROOT).split() == ["zoo.nothing"]
