"""Makes the page for a browser from page.html, and describes the models to it."""

from importlib.resources import files
from typing import Any

from ..page import assemble
from ..page.description import describe_for_page
from .model import Model

PAGE = assemble(files(__package__).joinpath("page.html").read_text(encoding="utf-8")).encode()
PAGE_HEADERS = {
    "content-type": "text/html; charset=utf-8",
    "content-security-policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "connect-src 'self'; img-src blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
}


def describe_model(model: Model) -> dict[str, Any]:
    """Describes a model for the page, with `classifies`, which says whether it takes image files at /classify."""
    about = describe_for_page(model.artifact, model.samples)
    return about | {"name": model.name, "classifies": model.classifier.offered}
