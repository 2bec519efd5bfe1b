"""The public names, with their arguments, as they were released: users' code relies on them, so none goes or changes.

New names may come, and new arguments that are keywords. A release lists them too:

    python tests/packaging/test_public_api.py > tests/packaging/public_api.txt
"""

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

LISTED = Path(__file__).with_name("public_api.txt")


def public_api() -> Iterator[str]:
    for package in ("keras_skip", "zoo", "export"):
        module = importlib.import_module(package)
        for name in sorted(module.__all__):
            value = getattr(module, name)
            if inspect.ismodule(value):
                yield f"{package}.{name}"
                continue
            yield f"{package}.{name}{arguments(value)}"
            for member in own_members(value) if inspect.isclass(value) else ():
                inner = getattr(value, member, None)
                yield f"{package}.{name}.{member}{arguments(inner) if callable(inner) else ''}"


def own_members(cls: type) -> list[str]:
    """What a class has beyond the classes of other packages that it is derived from."""
    foreign = [base for base in cls.__mro__ if base.__module__.partition(".")[0] not in ("keras_skip", "zoo", "export")]
    known = {name for base in foreign for name in vars(base)}
    fields = getattr(cls, "__dataclass_fields__", {})
    names = [name for name in dir(cls) if not name.startswith("_") and name not in known] + [*fields]
    return sorted(
        {
            name
            for name in names
            if name in fields or callable(value := getattr(cls, name)) or isinstance(value, property)
        }
    )


def arguments(value: object) -> str:
    """Names in their order, plain defaults, and from where on only keywords are taken."""
    if isinstance(value, type) and issubclass(value, Exception):
        return ""
    found = []
    for parameter in inspect.signature(value).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in found:
            found.append("*")
        plain = parameter.default is None or isinstance(parameter.default, (bool, int, float, str, tuple))
        default = repr(parameter.default) if plain else "..."
        without = parameter.default is parameter.empty
        found.append(str(parameter).partition(":")[0] if without else f"{parameter.name}={default}")
    return f"({', '.join(found)})"


def split(entry: str) -> tuple[str, list[str], set[str]]:
    """A line's name, its arguments that may go without a keyword, in order, and all that may have one."""
    name, _, rest = entry.partition("(")
    given = re.split(r", (?![^(]*\))", rest.removesuffix(")")) if rest else []
    positional = given[: given.index("*")] if "*" in given else [each for each in given if each != "**kwargs"]
    return name, positional, set(given)


def changed(listed: list[str], there: list[str]) -> list[str]:
    """The listed lines that today's names do not keep."""
    now = {name: (positional, given) for name, positional, given in map(split, there)}
    broken = []
    for line in listed:
        name, positional, given = split(line)
        if name not in now or now[name][0][: len(positional)] != positional or not given <= now[name][1] | {"*"}:
            broken.append(line)
    return broken


def test_every_listed_name_is_there_with_its_arguments():
    listed = LISTED.read_text(encoding="utf-8").splitlines()
    assert len(listed) > 100
    assert changed(listed, list(public_api())) == []


def test_only_a_new_keyword_is_no_change():
    listed = ["f(x, y=(1, 2), *, z=True)"]
    assert changed(listed, ["f(x, y=(1, 2), *, new=0, z=True)", "g()"]) == []
    for now in (
        "g()",
        "f(x, *, y=(1, 2), z=True)",
        "f(x, y=(1, 2), *, z=False)",
        "f(y=(1, 2), x, *, z=True)",
        "f(x, y=(1, 3), *, z=True)",
    ):
        assert changed(listed, [now]) == listed


if __name__ == "__main__":
    print("\n".join(public_api()))
