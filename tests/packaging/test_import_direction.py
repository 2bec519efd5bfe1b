"""The import direction: keras_skip <- zoo, export stands alone, and of zoo only the command line may know export."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("keras_skip", "zoo", "export")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


@dataclass(frozen=True)
class Rule:
    never: frozenset[str] = frozenset()
    only_in_functions: frozenset[str] = frozenset()


RULES = {
    "keras_skip": Rule(never=frozenset({"zoo", "export"})),
    "zoo": Rule(never=frozenset({"export"})),
    "export": Rule(
        never=frozenset({"zoo"}), only_in_functions=frozenset({"keras", "keras_skip", "tensorflow", "tf2onnx"})
    ),
}
RULES_OF_FILES = {"zoo/cli/exporting.py": Rule(), "zoo/cli/serving.py": Rule()}


def imported(node: ast.AST) -> set[str]:
    """Names of the top-level packages that this node, without its children, imports from outside its own package."""
    match node:
        case ast.Import(names=names):
            return {name.name.partition(".")[0] for name in names}
        case ast.ImportFrom(module=str(module), level=0):
            return {module.partition(".")[0]}
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=[ast.Constant(value=str(module)), *_]):
            return {module.partition(".")[0]} - {""} if name in ("import_module", "__import__") else set()
    return set()


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def imports(node: ast.AST, deferred: bool = False) -> Iterator[tuple[str, int, bool]]:
    """Yield package, line and whether it waits for a call (or a type checker), for every import in `node`."""
    for name in imported(node):
        yield name, node.lineno, deferred
    if isinstance(node, FUNCTIONS):
        # Decorators and defaults are evaluated with the module, the body is not.
        body = node.body if isinstance(node.body, list) else [node.body]
        for child in ast.iter_child_nodes(node):
            yield from imports(child, deferred or child in body)
    elif is_type_checking(node):
        for child in node.body:
            yield from imports(child, True)
        for child in node.orelse:
            yield from imports(child, deferred)
    else:
        for child in ast.iter_child_nodes(node):
            yield from imports(child, deferred)


def offences(source: str, package: str, rule: Rule) -> list[str]:
    found = []
    for name, line, deferred in imports(ast.parse(source)):
        if name in rule.never:
            found.append(f"line {line}: imports {name}")
        elif name in rule.only_in_functions and not deferred:
            found.append(f"line {line}: imports {name} outside a function")
        elif name == package:
            found.append(f"line {line}: imports its own package {name} by an absolute name")
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_in_one_direction(package):
    files = sorted((ROOT / package).rglob("*.py"))
    assert files, f"no source file in {package}"
    found = {}
    for path in files:
        name = path.relative_to(ROOT).as_posix()
        found[name] = offences(path.read_text(), package, RULES_OF_FILES.get(name, RULES[package]))
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("keras_skip", "import zoo"),
        ("keras_skip", "import numpy, export.parity as parity"),
        ("keras_skip", "def build():\n    from zoo.networks.registry import build"),
        ("keras_skip", "from keras_skip.residual import ResidualBlock"),
        ("zoo", "from export import verify"),
        ("zoo", "if TYPE_CHECKING:\n    import export"),
        ("zoo", "import importlib\n\ndef load():\n    return importlib.import_module('export.parity')"),
        ("export", "def load():\n    import zoo"),
        ("export", "import keras"),
        ("export", "import tensorflow as tf"),
        ("export", "from keras_skip import ResidualBlock"),
        ("export", "try:\n    import tf2onnx\nexcept ImportError:\n    tf2onnx = None"),
        ("export", "class Converter:\n    from keras import ops"),
        ("export", "def convert(ops=__import__('keras').ops): ..."),
        ("export", "if TYPE_CHECKING:\n    import onnx\nelse:\n    import keras"),
    ],
)
def test_an_import_in_the_wrong_direction_is_found(package, source):
    assert len(offences(source, package, RULES[package])) == 1


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("keras_skip", "import keras\nfrom . import residual\nfrom .zoo import build"),
        ("zoo", "from keras_skip import ResidualBlock\nimport exporter"),
        ("export", "def convert():\n    import keras, tensorflow\n    from keras_skip import ResidualBlock"),
        ("export", "class Converter:\n    def __call__(self):\n        import tf2onnx"),
        ("export", "if TYPE_CHECKING:\n    import keras"),
        ("export", "import importlib\n\ndef load(name):\n    return importlib.import_module('.parity', __name__)"),
    ],
)
def test_an_allowed_import_is_not_reported(package, source):
    assert offences(source, package, RULES[package]) == []


def test_only_the_command_line_may_import_zoo_and_export():
    for name, rule in RULES_OF_FILES.items():
        assert (ROOT / name).is_file()
        assert offences("from export import verify", "zoo", rule) == []
    assert offences("from export import verify", "zoo", RULES["zoo"]) == ["line 1: imports export"]
