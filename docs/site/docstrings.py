"""Docstrings as Griffe reads them for the API pages.

A layer's list of common options is filled in when its class is made, and a network's common arguments by the decorator
`document`; so these docstrings come from the class or function itself. An example under "Example:" becomes a section
of its own, shown as code.
"""

import inspect
import re
from importlib import import_module
from typing import Any

import griffe

# Up to a paragraph that is no example; indented or not.
_EXAMPLE = re.compile(r"^Example:\n\s*( *)(>>> (?:.+\n?|\n(?= *>>> ))*)", re.MULTILINE)


class Docstrings(griffe.Extension):
    def on_object(self, *, obj: griffe.Object, loader: griffe.GriffeLoader, **kwargs: Any) -> None:
        if obj.docstring is None:
            return
        text = obj.docstring.value
        decorators = " ".join(str(decorator.value) for decorator in getattr(obj, "decorators", ()))
        if (obj.is_class and "{options}" in text) or "document" in decorators:
            text = inspect.getdoc(getattr(import_module(obj.module.path), obj.name)) or ""
        obj.docstring.value = _EXAMPLE.sub(_section, text)


def _section(found: re.Match[str]) -> str:
    lines = (found[1] + found[2]).splitlines()
    return "Examples:\n" + "".join(f"    {line.removeprefix(found[1])}\n" for line in lines)
