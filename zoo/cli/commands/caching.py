"""The commands for the cache of decoded images: `cache` and `cache clear`."""

import csv
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from .. import _completion, console
from .._app import app
from .._command import Command
from .._options import table_format

if TYPE_CHECKING:
    from ...data.cached import Cached

cache_app = typer.Typer(invoke_without_command=True, subcommand_metavar="[COMMAND]", rich_markup_mode=None)
app.add_typer(cache_app, name="cache")

Format = Annotated[str, table_format("table", "csv", help="csv gives sizes in bytes.")]
Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NAME", autocompletion=_completion.cached, help="Names of sources, or names from `keras-skip cache`."
    ),
]
All = Annotated[bool, typer.Option("--all", help="Remove everything.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@cache_app.callback()
def cache(context: typer.Context, format: Format = "table") -> None:
    """List the images and indexes in the cache, or clear it."""
    if context.invoked_subcommand is None:
        from ...data.cache import cache_folder
        from ...data.cached import list_cached

        found = list_cached()
        if format == "csv":
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow(("name", "source", "bytes", "last use", "complete"))
            writer.writerows((c.path.name, c.source, c.bytes, _time(c), c.complete) for c in found)
            return
        rows = [(c.path.name, c.source if c.complete else "(unfinished)", size(c.bytes), _time(c)) for c in found]
        console.show_table("Cache", ("name", "source", "size", "last use"), rows)
        total = size(sum(cached.bytes for cached in found))
        console.show_record("Total", {"folder": cache_folder() / "sources", "size": total})


@cache_app.command(cls=Command)
def clear(names: Names = None, everything: All = False, yes: Yes = False) -> None:
    """Remove decoded images and indexes from the cache.

    They are made again when they are needed. Sources are not touched.
    """
    from ...data.cached import find_cached, list_cached, remove_cached

    if bool(names) == everything:
        raise ValueError(f"Expected either NAME or --all. Received: {'both' if names else 'neither'}")
    # With --all, what another process is writing stays.
    found = find_cached(names) if names else [cached for cached in list_cached() if not cached.in_use]
    total = size(sum(cached.bytes for cached in found))
    if found and not yes:
        typer.confirm(f"Remove {', '.join(cached.path.name for cached in found)} ({total})?", abort=True, err=True)
    for cached in found:
        remove_cached(cached)
    console.show_record("Removed", {"folders": len(found), "size": total})


def size(number: int) -> str:
    """Bytes as one reads them: 40.6 MB."""
    for unit, one in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= one:
            return f"{number / one:.1f} {unit}"
    return f"{number} bytes"


def _time(cached: "Cached") -> str:
    return datetime.fromtimestamp(cached.used).strftime("%Y-%m-%d %H:%M")
