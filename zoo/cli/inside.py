"""What is inside a network: its blocks, its gates, what single layers do, what dense layers use again."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..training.recipe import parse_setting
from ..weights.loading import check_loadable, load
from . import console
from ._app import Arguments, Figure, Overwrite, TestData, app, check_new, check_subject, write_figure

if TYPE_CHECKING:
    import keras

Network = Annotated[
    str, typer.Argument(metavar="NETWORK_OR_RUN", help="A network, the folder of a run, or a .keras file.")
]
RunOrNetwork = Annotated[
    str, typer.Argument(metavar="RUN_OR_NETWORK", help="The folder of a run, or with --weights a network.")
]
Weights = Annotated[
    str | None, typer.Option(help="Weights that come with the package; `keras-skip results` lists them.")
]
AnyWeights = Annotated[
    str | None,
    typer.Option(help="For a network: weights by name, in a file, or of the run in a folder. Default: new ones."),
]
Examples = Annotated[int | None, typer.Option(help="How many of the test images, from the first on. Default: all.")]


@app.command()
def draw(
    network: Network,
    out: Annotated[
        Path | None, typer.Option(help="The figure: .svg, .png or .pdf; a CSV comes beside it. Default: NETWORK.svg.")
    ] = None,
    settings: Arguments = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw a network block by block, with what each stage costs and how far it sees."""
    figure = Path(f"{Path(network).resolve().name}.svg") if out is None else out
    check_new(figure, overwrite=overwrite)
    check_loadable(network)
    console.import_quietly("keras")
    from ..analysis import architecture, charts

    model = _loaded(network, settings)
    stages = architecture.network_stages(model)
    drawn = charts.architecture(model.name, tuple(model.input_shape[1:]), stages)
    written = write_figure(figure, drawn, architecture.rows(model.name, stages), architecture.StageRow)
    rows = [
        (
            stage.name,
            "x".join(map(str, stage.output_shape)),
            f"{stage.parameters:,}",
            f"{stage.multiply_adds:,}",
            "all" if stage.receptive_field is None else stage.receptive_field,
        )
        for stage in stages
    ]
    console.show_table("Stages", ("stage", "output", "parameters", "multiply-adds", "sees, pixels"), rows)
    console.show_record("Written", written)


@app.command()
def gates(
    run_or_network: RunOrNetwork,
    weights: Weights = None,
    data: TestData = None,
    out: Figure = Path("gates.svg"),
    examples: Examples = None,
    example: Annotated[int, typer.Option(help="The test image of which the path is shown.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Draw what the gates of a highway network do: on average, for each class, and with one image."""
    by_class = out.with_name(f"{out.stem}-classes{out.suffix}")
    check_new(out, by_class, overwrite=overwrite)
    check_subject(run_or_network, weights, data)
    console.import_quietly("keras")
    from ..analysis import charts, gating

    found = gating.gates(run_or_network, data, weights=weights, examples=examples, example=example)
    written = write_figure(out, charts.gates(found), gating.rows(found), gating.GateRow)
    charts.save(charts.class_gates(found), by_class)
    rows = [(layer.layer, f"{layer.transform.mean():.3f}", f"{layer.carry.mean():.3f}") for layer in found.layers]
    console.show_table("Gates", ("layer", "mean T", "mean C"), rows)
    console.show_record("Written", written | {"classes": by_class})


@app.command()
def lesion(
    run_or_network: RunOrNetwork,
    weights: Weights = None,
    data: TestData = None,
    out: Figure = Path("lesion.svg"),
    examples: Examples = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw what is left of the accuracy when one highway layer or residual block only carries its input on."""
    check_new(out, overwrite=overwrite)
    check_subject(run_or_network, weights, data)
    console.import_quietly("keras")
    from ..analysis import charts, lesions

    found = lesions.lesion(run_or_network, data, weights=weights, examples=examples)
    written = write_figure(out, charts.lesion(found), found, lesions.Lesion)
    rows = [(one.layer or "the whole network", f"{one.accuracy:.2%}", f"{one.loss:.4f}") for one in found]
    console.show_table("Lesions", ("without", "test accuracy", "test loss"), rows)
    console.show_record("Written", written)


@app.command()
def survival(
    networks: Annotated[
        list[str], typer.Argument(metavar="NETWORK_OR_RUN...", help="Networks, folders of runs, .keras files.")
    ],
    out: Figure = Path("survival.svg"),
    settings: Arguments = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw with what probability each block survives a training step."""
    check_new(out, overwrite=overwrite)
    for name in networks:
        check_loadable(name)
    console.import_quietly("keras")
    from ..analysis import charts
    from ..analysis.survival import Survival, survival_profile

    found = [block for name in networks for block in survival_profile(_loaded(name, settings))]
    written = write_figure(out, charts.survival(found), found, Survival)
    console.show_record("Written", written)


@app.command()
def reuse(
    network: Network,
    weights: AnyWeights = None,
    out: Figure = Path("reuse.svg"),
    settings: Arguments = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw how much each layer of a dense block takes from each layer before it."""
    check_new(out, overwrite=overwrite)
    check_loadable(network, weights)
    console.import_quietly("keras")
    from ..analysis import charts
    from ..analysis.reuse import Reuse, feature_reuse

    found = feature_reuse(_loaded(network, settings, weights))
    written = write_figure(out, charts.feature_reuse(found), found, Reuse)
    console.show_record("Written", written)


def _loaded(name: str, settings: list[str] | None, weights: str | None = None) -> "keras.Model":
    return load(name, weights, **dict(map(parse_setting, settings or ())))
