"""Docstrings as Griffe reads them for the API pages.

A layer's list of common options is filled in when its class is made, so it comes from the class itself; and an example
under "Example:" becomes a section of its own, shown as code.
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
        if "{options}" in text and obj.is_class:
            text = inspect.getdoc(getattr(import_module(obj.module.path), obj.name)) or ""
        obj.docstring.value = _EXAMPLE.sub(_section, text)


def _section(found: re.Match[str]) -> str:
    lines = (found[1] + found[2]).splitlines()
    return "Examples:\n" + "".join(f"    {line.removeprefix(found[1])}\n" for line in lines)
