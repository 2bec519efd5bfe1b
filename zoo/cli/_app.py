"""The command line itself, to which each module here adds its commands."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import typer

from ._command import Command, Group

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Plain text takes half the time of Rich's boxes, fits 80 columns and is easy to search.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["--help", "-h"]},
)
command: Callable[..., Any] = partial(app.command, cls=Command)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"keras-skip {version('keras-skip')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Train networks with skip connections, export them and prove the export."""
