"""What can be looked at: how networks learn, and how far the gradient reaches."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from ..data.sources import check_source
from ..training import comparison
from ..training.recipe import parse_setting
from ..weights.loading import check_loadable
from . import console
from ._app import Arguments, Data, Figure, Overwrite, app, check_new, write_figure


@app.command()
def compare(
    networks: Annotated[
        list[str],
        typer.Argument(metavar="NETWORK...", help="Such as plain_mlp, or plain_mlp:depth=30,activation=tanh."),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the runs, the table and the figure.")] = Path("runs/comparison"),
    recipe: Annotated[
        str | None,
        typer.Option(
            help="How each is trained. Default: a recipe of the first network, for these data if there is one."
        ),
    ] = None,
    data: Data = None,
    seeds: Annotated[int, typer.Option(help="How many trainings of each, from seed 0 on.")] = 3,
    epochs: Annotated[int | None, typer.Option(help="Length of each run.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any setting of the recipe; repeatable."),
    ] = None,
) -> None:
    """Train several networks under one budget, and draw how they learn. What was stopped goes on."""
    overrides: dict[str, Any] = dict(map(parse_setting, settings or ()))
    overrides |= {} if epochs is None else {"epochs": epochs}
    comparison.plan(networks, out, data, recipe, seeds, overrides)
    console.import_quietly("keras")
    from ..devices.selection import select

    with console.interruptible(), ExitStack() as shown:

        def bar(name: str, one: Any, source: Any) -> Any:
            print(name, file=sys.stderr, flush=True)
            examples = len(source.train_labels)
            return shown.enter_context(console.progress_bar(one.epochs, examples, one.batch_size, select()))

        runs = comparison.compare(networks, out, data, recipe=recipe, seeds=seeds, callbacks=bar, **overrides)
    columns = ("network", "parameters", "test accuracy", "over the seeds", "training accuracy")
    console.show_table("Comparison", columns, comparison.summary(runs))
    console.show_record("Written", {"figure": out / "comparison.svg", "table": out / "comparison.csv"})


@app.command()
def gradients(
    networks: Annotated[
        list[str], typer.Argument(metavar="NETWORK_OR_RUN...", help="Networks, folders of runs, .keras files.")
    ],
    data: Annotated[str, typer.Option(help="Name of a data source, or a folder, archive or .npz.")] = "digits",
    out: Figure = Path("gradients.svg"),
    settings: Arguments = None,
    batch_size: Annotated[int, typer.Option(help="Images that the gradient is measured on.")] = 256,
    seed: Annotated[int, typer.Option(help="Of the weights of new networks.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Draw how far the gradient reaches: its norm at each layer, of new networks or of trained ones."""
    check_new(out, overwrite=overwrite)
    for name in networks:
        check_loadable(name)
    check_source(data)
    console.import_quietly("keras")
    from ..analysis import charts
    from ..analysis.gradients import Norm, compare
    from ..data import load_source

    norms = compare(networks, load_source(data), batch_size, seed, dict(map(parse_setting, settings or ())))
    written = write_figure(out, charts.gradient_flow(norms), norms, Norm)
    rows = []
    for name in dict.fromkeys(norm.network for norm in norms):
        first, *_, last = [norm.norm for norm in norms if norm.network == name]
        rows.append((name, f"{first:.2e}", f"{last:.2e}", f"{first / last:.1e}"))
    console.show_table("Gradients", ("network", "at the first layer", "at the last", "ratio"), rows)
    console.show_record("Written", written)
