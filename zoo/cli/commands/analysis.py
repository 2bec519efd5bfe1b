"""The commands that look inside a network: `draw`, `gates`, `lesion`, `survival`, `skips`; and `augmented`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import console
from .._app import command
from .._checks import check_figure, check_new, check_subject, write_figure
from .._options import (
    Arguments,
    Data,
    Figure,
    ImageSize,
    Network,
    Networks,
    OnBadImage,
    Overwrite,
    Resize,
    RunOrNetwork,
    Seed,
    Settings,
    Shorter,
    Stream,
    TestData,
    Weights,
    at_least,
    number,
    out,
    reading_images,
    resizing_images,
)
from .training import Recipe

if TYPE_CHECKING:
    import keras

Drawing = Annotated[
    Path | None,
    out("The figure: .svg, .png or .pdf. A .csv of the same name is written too. Default: NETWORK.svg.", "FILE"),
]
AnyWeights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        "-w",
        metavar="NAME|FILE|RUN",
        help="For a network: shipped weights, a file, or a run. Default: new weights.",
    ),
]
Examples = Annotated[int | None, number("--examples", "-n", help="Use the first N test images. Default: all.")]
Shown = Annotated[int, number("--examples", "-n", help="How many training images.")]
Picture = Annotated[Path, out("The figure: .png, .svg or .pdf.", "FILE")]
Example = Annotated[int, number(check=at_least(0), help="The index of the test image whose path is drawn.")]
Prune = Annotated[
    str | None,
    typer.Option(
        metavar="THRESHOLD[,...]",
        help="Measure the accuracy without the weights of depth averages below each threshold, such as 0.01,0.1.",
    ),
]


@command()
def draw(
    network: Network,
    out: Drawing = None,
    settings: Arguments = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw a network block by block, with the cost of each stage."""
    from ...weights.loading import check_loadable

    figure = Path(f"{Path(network).resolve().name}.svg") if out is None else out
    check_figure(figure, overwrite=overwrite)
    check_loadable(network)
    console.import_quietly("keras")
    from ...analysis import architecture, charts

    model = _load(network, settings)
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
    console.show_table("Stages", ("stage", "output", "parameters", "multiply-adds", "receptive field"), rows)
    console.show_record("Written", written)


@command()
def gates(
    run_or_network: RunOrNetwork,
    weights: Weights = None,
    data: TestData = None,
    out: Figure = Path("gates.svg"),
    examples: Examples = None,
    example: Example = 0,
    overwrite: Overwrite = False,
) -> None:
    """Draw a highway network's gates: mean, by class, for one image."""
    by_class = out.with_name(f"{out.stem}-classes{out.suffix}")
    check_figure(out, by_class, overwrite=overwrite)
    check_subject(run_or_network, weights, data)
    console.import_quietly("keras")
    from ...analysis import charts, gating

    found = gating.gates(run_or_network, data, weights=weights, examples=examples, example=example)
    written = write_figure(out, charts.gates(found), gating.rows(found), gating.GateRow)
    charts.save(charts.class_gates(found), by_class)
    rows = [(layer.layer, f"{layer.transform.mean():.3f}", f"{layer.carry.mean():.3f}") for layer in found.layers]
    console.show_table("Gates", ("layer", "mean T", "mean C"), rows)
    console.show_record("Written", written | {"classes": by_class})


@command()
def lesion(
    run_or_network: RunOrNetwork,
    weights: Weights = None,
    data: TestData = None,
    out: Figure = Path("lesion.svg"),
    examples: Examples = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw the accuracy that is left when one block is skipped."""
    check_figure(out, overwrite=overwrite)
    check_subject(run_or_network, weights, data)
    console.import_quietly("keras")
    from ...analysis import charts, lesions

    found = lesions.lesion(run_or_network, data, weights=weights, examples=examples)
    written = write_figure(out, charts.lesion(found), found, lesions.Lesion)
    rows = [(one.layer or "the whole network", f"{one.accuracy:.2%}", f"{one.loss:.4f}") for one in found]
    console.show_table("Lesions", ("without", "test accuracy", "test loss"), rows)
    console.show_record("Written", written)


@command()
def survival(
    networks: Networks,
    out: Figure = Path("survival.svg"),
    settings: Arguments = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw the probability that each block survives a training step."""
    from ...weights.loading import check_loadable

    check_figure(out, overwrite=overwrite)
    for name in networks:
        check_loadable(name)
    console.import_quietly("keras")
    from ..._names import shorten
    from ...analysis import charts
    from ...analysis.survival import Survival, survival_profile

    given = shorten(networks)
    profiles = {shown: survival_profile(_load(name, settings)) for name, shown in given.items()}
    own = {blocks[0].network for blocks in profiles.values()}
    if len(own) < len(profiles):
        profiles = {shown: [block._replace(network=shown) for block in blocks] for shown, blocks in profiles.items()}
    found = [block for blocks in profiles.values() for block in blocks]
    written = write_figure(out, charts.survival(found), found, Survival)
    console.show_record("Written", written)


@command()
def skips(
    run_or_network: RunOrNetwork,
    weights: AnyWeights = None,
    data: TestData = None,
    out: Figure = Path("skips.svg"),
    examples: Examples = None,
    prune: Prune = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw the weights of learned skips: which layers read which.

    It draws the weights of dense blocks, hyper-connections, and averages and attention over depth. Where they depend on
    the image, it draws their mean.
    """
    thresholds = _thresholds(prune)
    pruned = out.with_name(f"{out.stem}-pruned.csv")
    check_figure(out, *([pruned] if thresholds else ()), overwrite=overwrite)
    _check_skips(run_or_network, weights, data)
    console.import_quietly("keras")
    from ..._files import write_csv
    from ...analysis import charts
    from ...analysis.skips import Pruned, Skip, learned_skips, pruning_profile

    options: dict[str, Any] = {"weights": weights, "examples": examples}
    found = learned_skips(run_or_network, data, **options)
    profile = pruning_profile(run_or_network, data, thresholds=thresholds, **options) if thresholds else []
    written = write_figure(out, charts.skips(found), found, Skip)
    if profile:
        write_csv(pruned, profile, Pruned)
        written["pruned"] = pruned
        rows = [(f"{one.threshold:g}", one.weights, f"{one.accuracy:.2%}", f"{one.loss:.4f}") for one in profile]
        console.show_table("Pruned", ("below", "weights left", "test accuracy", "test loss"), rows)
    console.show_record("Written", written)


@command()
def augmented(
    recipe: Recipe,
    data: Data = None,
    out: Picture = Path("augmented.png"),
    examples: Shown = 6,
    seed: Seed = None,
    settings: Settings = None,
    image_size: ImageSize = None,
    resize: Resize = "crop",
    shorter: Shorter = None,
    stream: Stream = None,
    on_bad_image: OnBadImage = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw training images as a recipe changes them.

    Each row shows an image as it is evaluated, and then in epochs spread over the run.
    """
    from ...analysis import charts
    from ...data.sources import check_source
    from ...training.recipe import parse_setting
    from ...training.request import Request

    charts.check_format(out)
    check_new(out, overwrite=overwrite)
    overrides = dict(map(parse_setting, settings or ()))
    overrides |= {name: value for name, value in (("source", data), ("seed", seed)) if value is not None}
    request = Request(recipe, None, overrides)
    name = request.recipe().source
    given = resizing_images(image_size, resize) | reading_images(shorter, stream, on_bad_image)
    check_source(name, **request.reading(name, given))
    from ...analysis import augmented as analysis

    with console.reading() as progress:
        source = request.load(name, progress=progress, **given)
    console.say_reading(source)
    found = analysis.augmented(request.recipe(source), source, examples)
    out.parent.mkdir(parents=True, exist_ok=True)
    charts.save(charts.augmented(found), out)
    console.show_record("Written", {"figure": out})


def _thresholds(text: str | None) -> list[float]:
    """The numbers of "0.01,0.1"."""
    try:
        found = [float(part) for part in text.split(",")] if text is not None else []
    except ValueError:
        found = [-1.0]
    if not all(0 < threshold < float("inf") for threshold in found):
        raise ValueError(f"Expected --prune to be numbers above 0, such as 0.01,0.1. Received: --prune {text}")
    return found


def _check_skips(run_or_network: str, weights: str | None, data: str | None) -> None:
    """Refuses what does not exist. Dense blocks need no data, so that networks of any file are welcome."""
    from ...data.sources import check_source
    from ...weights.loading import check_loadable

    if weights is None and (Path(run_or_network) / "run.json").is_file():
        check_subject(run_or_network, data=data)
        return
    check_loadable(run_or_network, weights)
    if data is not None:
        check_source(data)


def _load(name: str, settings: list[str] | None, weights: str | None = None) -> "keras.Model":
    from ...training.recipe import parse_setting
    from ...weights.loading import load

    return load(name, weights, **dict(map(parse_setting, settings or ())))
