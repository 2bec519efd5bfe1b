"""The import direction: keras_skip <- zoo, and export stands alone.

Of zoo only the command line may know export; the rest shares its readers of images, archives and tables.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("keras_skip", "zoo", "export")
# The rooms of export, from the ground up: each imports only from those below it.
FLOORS = (
    {"errors"},
    {"archives", "images", "limits", "preprocessing", "steps", "tables"},
    {"table_files"},
    {"storage"},
    {"page"},
    {"model"},
    {"runtime"},
    {"convert"},
    {"engines"},
    {"precision"},
    {"proof"},
    {"description", "quantisation_data", "targets"},
    {"artifact", "conversion", "inspection", "predictor", "verification"},
    {"prediction"},
    {"serving"},
)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


@dataclass(frozen=True)
class Rule:
    never: frozenset[str] = frozenset()
    but: frozenset[str] = frozenset()
    only_in_functions: frozenset[str] = frozenset()


RULES = {
    "keras_skip": Rule(never=frozenset({"zoo", "export"})),
    "zoo": Rule(
        never=frozenset({"export"}),
        but=frozenset({"export.archives", "export.images", "export.tables", "export.table_files"}),
    ),
    "export": Rule(
        never=frozenset({"zoo"}), only_in_functions=frozenset({"keras", "keras_skip", "tensorflow", "tf2onnx"})
    ),
}
# The command line, and `python -m keras_skip`, which is nothing but the command line.
RULES_OF_FILES = dict.fromkeys(
    (
        "keras_skip/__main__.py",
        "zoo/cli/_export_results.py",
        "zoo/cli/commands/artifacts.py",
        "zoo/cli/commands/exporting.py",
        "zoo/cli/commands/predicting.py",
        "zoo/cli/commands/serving.py",
    ),
    Rule(),
)


def imported(node: ast.AST) -> set[str]:
    """Names of the modules that this node, without its children, imports from outside its own package."""
    match node:
        case ast.Import(names=names):
            return {name.name for name in names}
        case ast.ImportFrom(module=str(module), level=0):
            return {module}
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=[ast.Constant(value=str(module)), *_]):
            absolute = name in ("import_module", "__import__") and not module.startswith(".")
            return {module} if absolute else set()
    return set()


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def imports(node: ast.AST, deferred: bool = False) -> Iterator[tuple[str, int, bool]]:
    """Yield module, line and whether it waits for a call (or a type checker), for every import in `node`."""
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
    for module, line, deferred in imports(ast.parse(source)):
        name = module.partition(".")[0]
        if name in rule.never and module not in rule.but:
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
        ("keras_skip", "import numpy, export.proof.parity as parity"),
        ("keras_skip", "def build():\n    from zoo.networks.registry import build"),
        ("keras_skip", "from keras_skip.residual import ResidualBlock"),
        ("zoo", "from export import verify"),
        ("zoo", "from export import images"),
        ("zoo", "from export.images.other import read"),
        ("zoo", "if TYPE_CHECKING:\n    import export"),
        ("zoo", "import importlib\n\ndef load():\n    return importlib.import_module('export.proof.parity')"),
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
        ("zoo", "from export.images import ImageReader"),
        ("zoo", "from export.tables import Columns\nfrom export.table_files import read_table"),
        ("export", "def convert():\n    import keras, tensorflow\n    from keras_skip import ResidualBlock"),
        ("export", "class Converter:\n    def __call__(self):\n        import tf2onnx"),
        ("export", "if TYPE_CHECKING:\n    import keras"),
        ("export", "import importlib\n\ndef load(name):\n    return importlib.import_module('.parity', __name__)"),
    ],
)
def test_an_allowed_import_is_not_reported(package, source):
    assert offences(source, package, RULES[package]) == []


def modules_of(package: str) -> dict[str, Path]:
    found = {}
    for path in (ROOT / package).rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def own_imports(module: str, path: Path, modules: dict[str, Path]) -> set[str]:
    """The modules of the same package that this one imports, wherever in it, but for a type checker alone."""
    found = set()
    for node in nodes(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            above = module.split(".")[: None if path.name == "__init__.py" else -1]
            base = ".".join([*above[: len(above) - node.level + 1], *([node.module] if node.module else [])])
            names = {f"{base}.{name.name}" for name in node.names}
            found |= {name if name in modules else base for name in names}
    return found - {module}


def nodes(node: ast.AST) -> Iterator[ast.AST]:
    """The node and all below it, but what only a type checker reads."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not is_type_checking(child):
            yield from nodes(child)


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle; an empty list if there are none."""
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        return error.args[1]
    return []


@pytest.mark.parametrize("package", PACKAGES)
def test_modules_do_not_import_each_other_in_a_circle(package):
    modules = modules_of(package)
    graph = {module: own_imports(module, path, modules) for module, path in modules.items()}
    assert sum(map(len, graph.values())) > 10
    assert circle(graph) == []


def test_a_circle_is_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) != []


def test_rooms_of_export_import_in_one_direction():
    floors = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    modules = modules_of("export")
    rooms = {module: module.split(".")[1] for module in modules if module != "export"}
    assert set(rooms.values()) == set(floors)
    wrong = [
        (module, imported)
        for module, room in rooms.items()
        for imported in own_imports(module, modules[module], modules)
        if rooms[imported] != room and floors[rooms[imported]] >= floors[room]
    ]
    assert wrong == []


def test_only_the_command_line_may_import_zoo_and_export():
    for name, rule in RULES_OF_FILES.items():
        assert (ROOT / name).is_file()
        assert offences("from export import verify", "zoo", rule) == []
    assert offences("from export import verify", "zoo", RULES["zoo"]) == ["line 1: imports export"]
