"""The table of networks, for a terminal and for a page."""

from collections.abc import Iterable, Sequence

from ..networks.catalogue import MODELS
from ..networks.family import TASKS
from ..networks.registry import libraries_of
from ..training.recipes import recipes_of
from ..weights.catalogue import available

COLUMNS = ("name", "what it is", "parameters", "depth", "error in the paper", "recipes")
PAGE_COLUMNS = (
    "Name",
    "What it is",
    "Input",
    "Parameters",
    "Multiply-adds",
    "Depth",
    "Error in the paper",
    "Measured here",
    "Recipes",
    "Weights",
)
NUMBERS = ("Parameters", "Multiply-adds", "Depth")

PAGE = """# The networks

`keras-skip list --format markdown > docs/networks.md` writes this page. It counts trainable parameters, and the
multiply-adds of convolutions, dense and recurrent layers for one input of the given size.

{tables}

## Papers

{papers}
"""


def rows(names: Iterable[str]) -> list[tuple[str, ...]]:
    """A row of `COLUMNS` for each network."""
    return [
        (
            name,
            MODELS[name].family.summary,
            f"{MODELS[name].parameters:,}",
            str(MODELS[name].arguments.get("depth", "")),
            MODELS[name].paper_error,
            ", ".join(recipe.name for recipe in recipes_of(name)),
        )
        for name in names
    ]


def page(names: Sequence[str]) -> str:
    """A page of Markdown: a table of `PAGE_COLUMNS` for each task, and the papers."""
    tables = []
    for task, heading in TASKS.items():
        if chosen := [name for name in names if MODELS[name].family.task == task]:
            tables.append(f"## {heading}\n\n`keras-skip list --task {task}`\n\n{_table(chosen)}")
    papers: dict[str, list[str]] = {}
    for name in names:
        papers.setdefault(MODELS[name].family.paper, []).append(name)
    return PAGE.format(
        tables="\n\n".join(tables),
        papers="\n".join(f"- {paper}: {', '.join(of_it)}" for paper, of_it in papers.items() if paper),
    )


def _table(names: Iterable[str]) -> str:
    table = [PAGE_COLUMNS, tuple("---:" if column in NUMBERS else "---" for column in PAGE_COLUMNS)]
    for name in names:
        entry, recipes = MODELS[name], recipes_of(name)
        table.append(
            (
                f"`{name}`",
                entry.family.summary,
                size(entry.family.input_shape),
                f"{entry.parameters:,}",
                in_millions(entry.multiply_adds),
                str(entry.arguments.get("depth", "")),
                entry.paper_error,
                "; ".join(f"{recipe.result} (`{recipe.name}`)" for recipe in recipes if recipe.result),
                ", ".join(f"`{recipe.name}`" for recipe in recipes),
                "; ".join(filter(None, (", ".join(available(name)), _files(name)))),
            )
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in table)


def _files(name: str) -> str:
    libraries = libraries_of(name)
    return f"files of {', '.join(libraries)}" if libraries else ""


def in_millions(number: int) -> str:
    """A number in millions, such as 40.6 M."""
    return f"{number / 1e6:,.2f} M" if number < 1e6 else f"{number / 1e6:,.1f} M"


def size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
