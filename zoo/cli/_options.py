"""Arguments and options that several commands share, and functions that make others."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import typer

from . import _completion
from ._command import option_name

Check = Callable[[typer.CallbackParam, Any], Any]


def check_value(fits: Callable[[Any], bool], wanted: str) -> Check:
    """A callback that refuses values which do not fit, in the words of the shell."""

    def check(parameter: typer.CallbackParam, value: Any) -> Any:
        if value is not None and not fits(value):
            name = option_name(parameter)
            raise ValueError(f"Expected {name} to be {wanted}. Received: {name} {value}")
        return value

    return check


def at_least(least: int) -> Check:
    return check_value(lambda value: value >= least, f"at least {least}")


def from_to(least: int, most: int) -> Check:
    return check_value(lambda value: least <= value <= most, f"from {least} to {most}")


ABOVE_ZERO = check_value(lambda value: value > 0, "above 0")
A_FRACTION = check_value(lambda value: 0 < value < 1, "between 0 and 1")
A_PORT = from_to(0, 65535)
POSITIVE = at_least(1)


def choice(*names: str, option: tuple[str, ...] = (), help: str) -> Any:
    """An option with one of a few values, whose type may be a literal."""
    check = check_value(names.__contains__, f"one of {', '.join(names)}")
    # With a parser, Typer does not ask the type how to read the text.
    return typer.Option(
        *option,
        parser=str,
        metavar="|".join(names),
        callback=check,
        autocompletion=lambda: list(names),
        help=help,
    )


def number(*option: str, metavar: str = "N", check: Check = POSITIVE, help: str) -> Any:
    return typer.Option(*option, metavar=metavar, callback=check, help=help)


def out(help: str, metavar: str = "FOLDER") -> Any:
    return typer.Option("--out", "-o", metavar=metavar, help=help)


def data(default: str = "") -> Any:
    paths = "a folder, archive, .npz, .csv or .parquet, or shards"
    help = f"The name of a data source, or {paths}.{default and f' Default: {default}.'}"
    return typer.Option("--data", "-d", metavar="SOURCE", help=help)


def settings(help: str) -> Any:
    return typer.Option("--set", "-s", metavar="NAME=VALUE", callback=_check_settings, help=f"{help} Repeatable.")


def _check_settings(texts: list[str] | None) -> list[str] | None:
    for text in texts or ():
        name, equals, _ = text.partition("=")
        if not name.strip() or not equals:
            raise ValueError(f"Expected --set NAME=VALUE. Received: --set {text}")
    return texts


def check_columns(texts: list[str] | None) -> list[str] | None:
    for text in texts or ():
        name, equals, kind = text.rpartition("=")
        if not name or not equals or not kind:
            raise ValueError(f"Expected --column NAME=KIND. Received: --column {text}")
    return texts


def reading_tables(
    target: str | None, task: str | None, split_column: str | None, columns: list[str] | None
) -> dict[str, Any]:
    """The options of `load_source` for tables that are given."""
    kinds = {name: kind for name, _, kind in (text.rpartition("=") for text in columns or ())}
    given = {"target": target, "task": task, "split_column": split_column, "columns": kinds}
    return {name: value for name, value in given.items() if value}


def sides(text: str | None) -> tuple[int, int] | None:
    """Height and width from "HEIGHTxWIDTH", or from the one number of a square."""
    if text is None:
        return None
    height, _, width = text.partition("x")
    try:
        size = int(height), int(width or height)
    except ValueError:
        size = (0, 0)
    if min(size) < 1:
        raise ValueError(f"Expected --image-size HEIGHTxWIDTH, such as 48x64. Received: --image-size {text}")
    return size


def resizing_images(image_size: str | None, resize: str) -> dict[str, Any]:
    """The options `image_size` and `resize` of `load_source`."""
    return {"image_size": sides(image_size), "resize": resize}


def reading_images(shorter: int | None, stream: bool | None, on_bad_image: str | None) -> dict[str, Any]:
    """Those of the options `shorter`, `stream` and `on_bad_image` of `load_source` that are given."""
    given = {"shorter": shorter, "stream": stream, "on_bad_image": on_bad_image}
    return {name: value for name, value in given.items() if value is not None}


def table_format(*names: str, help: str) -> Any:
    return choice(*names, option=("--format", "-f"), help=help)


Run = Annotated[
    Path, typer.Argument(metavar="RUN", autocompletion=_completion.runs, help="The folder of a training run.")
]
RunOrNetwork = Annotated[
    str,
    typer.Argument(
        metavar="RUN_OR_NETWORK",
        autocompletion=_completion.networks_and_runs,
        help="The folder of a run; with --weights, a network.",
    ),
]
Network = Annotated[
    str,
    typer.Argument(
        metavar="NETWORK_OR_RUN",
        autocompletion=_completion.networks_and_runs,
        help="A network, the folder of a run, or a .keras file.",
    ),
]
Networks = Annotated[
    list[str],
    typer.Argument(
        metavar="NETWORK_OR_RUN",
        autocompletion=_completion.networks_and_runs,
        help="Networks, folders of runs, or .keras files.",
    ),
]
Artifact = Annotated[
    Path, typer.Argument(metavar="ARTIFACT", autocompletion=_completion.artifacts, help="The folder of an artifact.")
]

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")]
Data = Annotated[str | None, data("the recipe's")]
TestData = Annotated[str | None, data("the data of the run or the weights")]
Target = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="The column of a table to predict; for several numbers, their columns, separated by commas.",
    ),
]
Task = Annotated[
    str | None,
    choice("classification", "regression", "segmentation", help="What to predict. Default: what the data suggest."),
]
SplitColumn = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="The column of a table whose values are train, validation or test.")
]
ImageSize = Annotated[
    str | None,
    typer.Option(
        metavar="HEIGHTxWIDTH",
        help="Resize all images, to 48x64 for example. One number means a square. "
        "Default: the recipe's; images of several sizes get the network's, if it has one.",
    ),
]
Resize = Annotated[
    str,
    choice("crop", "stretch", help="How --image-size resizes: crop keeps the centre, stretch changes the proportions."),
]
Shorter = Annotated[
    int | None,
    number(
        metavar="PIXELS",
        help="Resize the shorter side of images to this before the centre crop. "
        "Default: that of the recipe or the run, or else crop as little as possible.",
    ),
]
Stream = Annotated[
    bool | None,
    typer.Option(
        "--stream/--cache",
        help="Decode each image when a batch needs it, or all images once, into the cache. "
        "Default: --stream if they would take more than 4 GB decoded.",
    ),
]
OnBadImage = Annotated[
    str | None, choice("error", "skip", help="What to do with images that cannot be read. Default: error.")
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="NAME=KIND",
        callback=check_columns,
        help="The kind of a column: number, date, category or ignore. Default: what its values suggest. Repeatable.",
    ),
]
Weights = Annotated[
    str | None,
    typer.Option("--weights", "-w", metavar="NAME", help="Shipped weights; `keras-skip results` lists them."),
]
Tta = Annotated[bool, typer.Option("--tta", help="Average over views of each image, like those seen in training.")]
Views = Annotated[
    str | None,
    choice(
        "mirror", "shift", "mirror+shift", help="--tta with these views. Default: those of the recipe's augmentation."
    ),
]
ViewsOrCrops = Annotated[
    str | None,
    choice(
        "mirror",
        "shift",
        "mirror+shift",
        "ten-crop",
        help="--tta with these views; ten-crop needs images larger than the network's input. Default: those of the "
        "recipe's augmentation.",
    ),
]
Figure = Annotated[Path, out("The figure: .svg, .png or .pdf. A .csv of the same name is written too.", "FILE")]
Arguments = Annotated[list[str] | None, settings("An argument of the network, such as depth=30.")]
Settings = Annotated[list[str] | None, settings("A setting of the recipe, such as optimizer.lr=0.2.")]
Epochs = Annotated[int | None, number("--epochs", "-e", help="Number of epochs. Default: the recipe's.")]
Seed = Annotated[
    int | None,
    number(check=at_least(0), help="Seed of the weights, order, augmentation and dropout. Default: the recipe's."),
]
# The devices of an artifact, as in export/runtime/providers.py.
Device = Literal["cpu", "cuda", "cuda-tf32", "tensorrt", "openvino", "coreml", "directml"]
DEVICES = get_args(Device)
ExportDevice = Annotated[
    Literal["cpu", "cuda"] | None,
    choice("cpu", "cuda", help="cuda fails without a GPU, cpu ignores one. Default: CUDA if it is available."),
]
ServingDevice = Annotated[
    Device,
    choice(
        *DEVICES,
        help="Where onnxruntime computes. Its answers must agree with the recorded ones first.",
    ),
]
VerifiedDevice = Annotated[
    Device | None, choice(*DEVICES, help="Where to compute besides the CPU. Default: CUDA if it is available.")
]
Host = Annotated[str, typer.Option(metavar="ADDRESS", help="The address to listen on.")]
Port = Annotated[int, number("--port", "-p", metavar="PORT", check=A_PORT, help="The port; 0 picks a free one.")]
TokenFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="A file with the bearer token that clients must send. Default: none."),
]
MaxBatchSize = Annotated[int, number(help="How many examples to run at once, at most.")]
MaxDelay = Annotated[
    float, number(metavar="MS", check=at_least(0), help="How long a request may wait for others to join its batch.")
]
Queue = Annotated[int, number(help="How many requests may wait for a model; more are refused.")]
