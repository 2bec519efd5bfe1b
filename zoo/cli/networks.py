"""What there is: networks and recipes."""

from enum import StrEnum
from typing import Annotated

import typer

from ..networks import registry
from ..networks.registry import MODELS, list_models
from ..reports import listing
from ..training.recipes import RECIPES, get_recipe
from . import console
from ._app import app


class Format(StrEnum):
    """How `list` writes its table."""

    table = "table"
    markdown = "markdown"


@app.command("list")
def list_(
    pattern: Annotated[str | None, typer.Argument(help='Shell pattern, such as "*mlp".')] = None,
    format: Annotated[Format, typer.Option(help="A table, or a page with more columns.")] = Format.table,
) -> None:
    """List the networks: sizes, errors in the papers, recipes."""
    matching = list_models(pattern)
    if not matching:
        raise ValueError(f"Expected a pattern that matches one of {', '.join(list_models())}. Received: {pattern!r}")
    names = [name for name in MODELS if name in matching]
    if format is Format.markdown:
        print(listing.page(names), end="")
    else:
        console.show_table("Networks", listing.COLUMNS, listing.rows(names))


@app.command()
def describe(name: Annotated[str, typer.Argument(help="A network or a recipe.")]) -> None:
    """Show a network's paper and figures, or a recipe's settings."""
    if name in RECIPES:
        console.show_record(name, get_recipe(name).as_dict())
        return
    card = registry.describe(name)
    console.show_record(
        name,
        {
            "what it is": card.summary,
            "paper": card.paper,
            "error in the paper": card.paper_error,
            "measured here": "; ".join(f"{recipe}: {result}" for recipe, result in card.measured.items()),
            "depth": card.depth,
            "input": f"{listing.size(card.input_shape)}, {card.classes} classes",
            "parameters": f"{card.parameters:,} trainable, {card.non_trainable:,} others",
            "multiply-adds": f"{card.multiply_adds:,} for one image, in convolutions and dense layers",
            "recipes": ", ".join(card.recipes),
            "weights": ", ".join(card.weights),
            "arguments": ", ".join(f"{key}={value!r}" for key, value in card.arguments.items()),
        },
    )
