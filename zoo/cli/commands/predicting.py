"""The command that predicts for files: `predict`."""

import csv
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from .. import _completion, console
from .._app import command
from .._options import DEVICES, Device, Overwrite, choice, number, out

Subject = Annotated[
    Path,
    typer.Argument(
        metavar="RUN_OR_ARTIFACT",
        autocompletion=_completion.runs_and_artifacts,
        help="The folder of a run or an artifact, or with --weights the name of a network.",
    ),
]
Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT",
        help="Images, folders, archives, tables, .npy or .npz, or patterns in quotes such as 'photos/*.jpg'.",
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The weights of a network: a name such as cifar10, or a file."),
]
Out = Annotated[
    Path | None,
    out(
        "A .csv, .jsonl, .json or .parquet, or a folder for masks. Default: predictions.csv, or predictions for masks.",
        "PATH",
    ),
]
Top = Annotated[int, number(help="How many classes a row names, the most probable first.")]
BatchSize = Annotated[int | None, number("--batch-size", "-b", help="How many inputs to compute at once. Default: 32.")]
OnBadInput = Annotated[
    Literal["error", "skip"],
    choice(
        "error",
        "skip",
        help="What to do with inputs that cannot be read. skip leaves their rows empty and adds the reason.",
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue an unfinished output, if there is one.")]
ChosenDevice = Annotated[
    Device | None,
    choice(
        *DEVICES,
        help="Where to compute; runs take cpu and cuda. Default: cpu for an artifact, a GPU for a run if there is one.",
    ),
]

Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Compute on Ray, which needs the extra ray: auto finds a running cluster, local starts one. "
        "Default: without Ray.",
    ),
]

SHOWN = 5  # rows on the terminal; the file has them all


@command()
def predict(
    subject: Subject,
    inputs: Inputs,
    weights: Weights = None,
    out: Out = None,
    top: Top = 1,
    batch_size: BatchSize = None,
    on_bad_input: OnBadInput = "error",
    resume: Resume = False,
    overwrite: Overwrite = False,
    device: ChosenDevice = None,
    ray: Ray = None,
) -> None:
    """Predict classes, numbers or masks for files.

    Each input becomes a row, in the order of the inputs. If the command is interrupted, --resume continues after the
    rows that are written.
    """
    from export.prediction.run import check_prediction, predict_files

    check_prediction(inputs, out, batch_size, on_bad_input, resume=resume, overwrite=overwrite)
    options: dict[str, Any] = {"top": top, "batch_size": batch_size, "on_bad_input": on_bad_input}
    options |= {"resume": resume, "overwrite": overwrite, "ray": ray}
    try:
        with _open(subject, weights, device, ray) as network, console.predicting() as progress:
            done = predict_files(network, inputs, out, progress=progress, **options)
    except KeyboardInterrupt:
        print("Interrupted. The same command with --resume continues after the rows that are written.", file=sys.stderr)
        raise typer.Exit(130) from None
    _show_first(done.path)
    shown = {"inputs": f"{done.rows:,}", "written": done.path}
    if done.bad:
        more = f" and {done.bad - len(done.named)} more" if done.bad > len(done.named) else ""
        shown |= {"bad inputs": f"{done.bad:,}", "which": ", ".join(done.named) + more}
    console.show_record("Predicted", shown)


def _show_first(path: Path) -> None:
    """Shows the first rows of a .csv that was written."""
    if path.suffix != ".csv":
        return
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        titles, *rows = map(tuple, islice(csv.reader(file), 1 + SHOWN))
    console.show_table("First predictions" if len(rows) == SHOWN else "Predictions", titles, rows)


@contextmanager
def _open(subject: Path, weights: str | None, device: Device | None, ray: str | None) -> Iterator[Any]:
    """Opens the network of a run, of weights or of an artifact, and the context in which it computes."""
    if weights is None and (subject / "artifact.json").is_file():
        from export.prediction.network import ArtifactNetwork

        yield ArtifactNetwork(subject, device or "cpu")
        return
    if ray:
        raise ValueError(f"Expected the folder of an artifact for --ray. Received: {str(subject)!r}; export it")
    if device not in (None, "cpu", "cuda"):
        raise ValueError(
            f"Expected the folder of an artifact for --device {device}. Received: {str(subject)!r}; export it"
        )
    from ...training.folder import hint_at_run
    from ...training.runs import open_complete_run
    from ...weights.loading import check_loadable

    run = None
    if weights is not None:
        check_loadable(str(subject), weights)
    elif (subject / "run.json").is_file():
        run = open_complete_run(subject)
        check_loadable(subject)
    else:
        raise ValueError(
            "Expected the folder of a run or of an artifact, or the name of a network with --weights. "
            f"Received: {str(subject)!r}{hint_at_run(subject)}"
        )
    console.import_quietly("keras", find_devices=False)
    from ...devices.selection import select
    from ...training.prediction import network_of_run, network_of_weights

    with select({"cuda": "gpu", None: "auto"}.get(device, "cpu")).scope():
        yield network_of_run(run) if run else network_of_weights(str(subject), str(weights))
