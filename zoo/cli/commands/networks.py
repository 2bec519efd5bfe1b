"""The commands that list networks and recipes: `list`, `recipes` and `describe`."""

import fnmatch
from typing import Annotated

import typer

from .. import _completion, console
from .._app import command
from .._options import table_format

Pattern = Annotated[
    str | None,
    typer.Argument(
        metavar="PATTERN",
        autocompletion=_completion.networks,
        help='A shell pattern such as "*mlp", or words of the name or of what it is.',
    ),
]
RecipePattern = Annotated[
    str | None,
    typer.Argument(
        metavar="PATTERN",
        autocompletion=_completion.recipes,
        help='A shell pattern such as "*mlp", or words that the name contains.',
    ),
]
Task = Annotated[
    str | None,
    typer.Option(
        "--task", metavar="TASK", autocompletion=_completion.tasks, help='What they are for, such as "segmentation".'
    ),
]
Format = Annotated[str, table_format("table", "markdown", help="markdown prints a page with more columns.")]
Name = Annotated[
    str,
    typer.Argument(metavar="NAME", autocompletion=_completion.networks_and_recipes, help="A network or a recipe."),
]


@command("list")
def list_(pattern: Pattern = None, task: Task = None, format: Format = "table") -> None:
    """List the networks: sizes, errors in the papers, recipes."""
    from ...networks.catalogue import MODELS
    from ...reports import listing

    matching = _matching(pattern, task)
    names = [name for name in MODELS if name in matching]
    if format == "markdown":
        print(listing.page(names), end="")
    else:
        console.show_table("Networks", listing.COLUMNS, listing.rows(names))


@command()
def recipes(pattern: RecipePattern = None) -> None:
    """List the recipes that `train` takes."""
    from ...networks.catalogue import MODELS
    from ...networks.registry import search
    from ...training.recipes import RECIPES

    chosen = [recipe for recipe in RECIPES.values() if pattern and fnmatch.fnmatchcase(recipe.network, pattern)]
    if pattern not in MODELS:
        found = search({name: name for name in RECIPES}, pattern)
        chosen = [recipe for recipe in RECIPES.values() if recipe in chosen or recipe.name in found]
    if not chosen:
        raise ValueError(
            "Expected a pattern that matches a recipe or its network; `keras-skip recipes` shows all. "
            f"Received: {pattern!r}"
        )
    rows = [
        (recipe.name, recipe.network, recipe.source, str(recipe.epochs), str(recipe.batch_size), recipe.result)
        for recipe in chosen
    ]
    console.show_table("Recipes", ("recipe", "network", "data", "epochs", "batch", "measured here"), rows)


def _matching(pattern: str | None, task: str | None) -> list[str]:
    from ...networks.registry import list_models

    matching = list_models(pattern, task)
    if not matching:
        of_task = f" for {task}" if task else ""
        raise ValueError(
            f"Expected a pattern that matches a network{of_task}; `keras-skip list` shows all. Received: {pattern!r}"
        )
    return matching


@command()
def describe(name: Name) -> None:
    """Show a network's paper and figures, or a recipe's settings."""
    from ...training.recipes import RECIPES, get_recipe, recipes_of

    if name in RECIPES:
        console.show_record(name, get_recipe(name).as_dict())
        return
    from ...networks.registry import describe as describe_network
    from ...networks.registry import explain_arguments
    from ...reports import listing

    card = describe_network(name)
    console.show_record(
        name,
        {
            "what it is": card.summary,
            "task": card.task,
            "paper": card.paper,
            "error in the paper": card.paper_error,
            "depth": card.depth,
            "input": f"{listing.size(card.input_shape)}, {card.classes} classes",
            "parameters": f"{card.parameters:,} trainable, {card.non_trainable:,} others",
            "multiply-adds": f"{card.multiply_adds:,} for one input, in convolutions, dense and recurrent layers",
            "weights": ", ".join(card.weights),
            "reads files of": ", ".join(card.libraries),
        },
    )
    columns = ("recipe", "data", "in the paper", "measured here", "cost")
    recipes = [(recipe.name, recipe.source, recipe.paper, recipe.result, recipe.cost) for recipe in recipes_of(name)]
    if recipes:
        console.show_table("Recipes", columns, recipes)
    meanings = explain_arguments(name)
    rows = [(key, repr(value), meanings[key]) for key, value in card.arguments.items()]
    console.show_table("Arguments", ("argument", "default", "what it is"), rows)
