"""The parts that the pages of the server and of the web target share: style, scripts, and descriptions of models."""

import re
from importlib.resources import files


def assemble(template: str) -> str:
    """Returns a page in which each line `{{NAME}}`, in a comment or not, is replaced by the file of that name here."""
    folder = files(__package__)

    def read(found: re.Match[str]) -> str:
        return folder.joinpath(found["name"]).read_text(encoding="utf-8").rstrip("\n")

    return re.sub(r"^(/\* )?\{\{(?P<name>[\w.]+)\}\}( \*/)?$", read, template, flags=re.MULTILINE)
