"""The command line itself, to which each module here adds its commands; and the options that several of them share."""

from typing import Annotated

import typer

app = typer.Typer(
    help="Networks with skip connections: train them, export them, prove the export.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
Data = Annotated[
    str | None,
    typer.Option(help="Name of a data source, or a folder, archive or .npz of images. Default: the recipe's."),
]
