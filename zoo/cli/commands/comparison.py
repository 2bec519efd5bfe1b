"""The commands that compare networks: `compare` and `gradients`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from .. import _completion, console
from .._app import command
from .._checks import check_figure, write_figure
from .._options import Arguments, Data, Epochs, Figure, Networks, Overwrite, Settings, at_least, data, number, out

Contestants = Annotated[
    list[str],
    typer.Argument(
        metavar="NETWORK",
        autocompletion=_completion.networks,
        help="Networks, such as plain_mlp or plain_mlp:depth=30,activation=tanh.",
    ),
]
Folder = Annotated[Path, out("The folder of the runs, the table and the figure.")]
Recipe = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        "-r",
        metavar="RECIPE",
        autocompletion=_completion.recipes,
        help="The recipe for all networks. Default: the first network's, if possible one for these data.",
    ),
]
Seeds = Annotated[int, number(help="Train each network this many times, with the seeds from 0 up.")]


@command()
def compare(
    networks: Contestants,
    out: Folder = Path("runs/comparison"),
    recipe: Recipe = None,
    data: Data = None,
    seeds: Seeds = 3,
    epochs: Epochs = None,
    settings: Settings = None,
) -> None:
    """Train networks under one budget, and draw how they learn.

    Repeat the command to resume an interrupted comparison.
    """
    from ...training import comparison
    from ...training.recipe import parse_setting

    overrides: dict[str, Any] = dict(map(parse_setting, settings or ()))
    overrides |= {} if epochs is None else {"epochs": epochs}
    comparison.plan(networks, out, data, recipe, seeds, overrides)
    console.import_quietly("keras")
    with console.interruptible():
        runs = comparison.compare(networks, out, data, recipe=recipe, seeds=seeds, **overrides)
    figure = comparison.ranking(runs).title
    columns = ("network", "parameters", f"test {figure}", "over the seeds", f"training {figure}")
    console.show_table("Comparison", columns, comparison.summary(runs))
    console.show_record("Written", {"figure": out / "comparison.svg", "table": out / "comparison.csv"})


@command()
def gradients(
    networks: Networks,
    data: Annotated[str, data()] = "digits",
    out: Figure = Path("gradients.svg"),
    settings: Arguments = None,
    batch_size: Annotated[int, number("--batch-size", "-b", help="Measure the gradient on this many images.")] = 256,
    seed: Annotated[int, number(check=at_least(0), help="Seed of the weights of new networks.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Draw the norm of the gradient at each layer of networks."""
    from ...data.sources import check_source
    from ...training.recipe import parse_setting
    from ...weights.loading import check_loadable

    check_figure(out, overwrite=overwrite)
    for name in networks:
        check_loadable(name)
    check_source(data)
    console.import_quietly("keras")
    from ...analysis import charts
    from ...analysis.gradients import Norm, compare
    from ...data import load_source

    norms = compare(networks, load_source(data), batch_size, seed, dict(map(parse_setting, settings or ())))
    written = write_figure(out, charts.gradient_flow(norms), norms, Norm)
    rows = []
    for name in dict.fromkeys(norm.network for norm in norms):
        found = [norm.norm for norm in norms if norm.network == name]
        first, last = found[0], found[-1]
        rows.append((name, f"{first:.2e}", f"{last:.2e}", f"{first / last:.1e}"))
    console.show_table("Gradients", ("network", "at the first layer", "at the last", "ratio"), rows)
    console.show_record("Written", written)
