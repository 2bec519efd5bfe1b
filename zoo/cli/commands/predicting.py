"""The command that predicts for files: `predict`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from .. import _completion, console
from .._app import command
from .._options import Overwrite, choice, number, out

Subject = Annotated[
    Path,
    typer.Argument(
        metavar="RUN_OR_ARTIFACT",
        autocompletion=_completion.runs_and_artifacts,
        help="The folder of a run or of an artifact.",
    ),
]
Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT",
        help="Images, folders, archives, tables, .npy or .npz, or patterns in quotes such as 'photos/*.jpg'.",
    ),
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
    choice("error", "skip", help="skip leaves the row of an input that cannot be read empty, and says why."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with an output that was begun, if there is one.")]
Device = Annotated[
    Literal["cpu", "cuda"] | None,
    choice("cpu", "cuda", help="Where to compute. Default: cpu for an artifact, a GPU for a run if there is one."),
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


@command()
def predict(
    subject: Subject,
    inputs: Inputs,
    out: Out = None,
    top: Top = 1,
    batch_size: BatchSize = None,
    on_bad_input: OnBadInput = "error",
    resume: Resume = False,
    overwrite: Overwrite = False,
    device: Device = None,
    ray: Ray = None,
) -> None:
    """Predict classes, numbers or masks for files.

    Each input becomes a row, in the order of the inputs. If the command is stopped, --resume goes on with the rows that
    are written.
    """
    from export.prediction.run import check_prediction, predict_files

    check_prediction(inputs, out, batch_size, on_bad_input, resume=resume, overwrite=overwrite)
    options: dict[str, Any] = {"top": top, "batch_size": batch_size, "on_bad_input": on_bad_input}
    options |= {"resume": resume, "overwrite": overwrite, "ray": ray}
    try:
        with _open(subject, device, ray) as network, console.predicting() as progress:
            done = predict_files(network, inputs, out, progress=progress, **options)
    except KeyboardInterrupt:
        print("Interrupted. The same command with --resume goes on with the rows that are written.", file=sys.stderr)
        raise typer.Exit(130) from None
    shown = {"inputs": f"{done.rows:,}", "written": done.path}
    if done.bad:
        more = f" and {done.bad - len(done.named)} more" if done.bad > len(done.named) else ""
        shown |= {"bad inputs": f"{done.bad:,}", "which": ", ".join(done.named) + more}
    console.show_record("Predicted", shown)


@contextmanager
def _open(subject: Path, device: str | None, ray: str | None) -> Iterator[Any]:
    """Opens a run's network or an artifact, and the context in which it computes."""
    if (subject / "artifact.json").is_file():
        from export.prediction.network import ArtifactNetwork

        yield ArtifactNetwork(subject, "cuda" if device == "cuda" else "cpu")
        return
    if not (subject / "run.json").is_file():
        raise ValueError(f"Expected the folder of a run or of an artifact. Received: {str(subject)!r}")
    if ray:
        raise ValueError(f"Expected the folder of an artifact for --ray. Received: {str(subject)!r}, a run; export it")
    from ...training.runs import open_complete_run
    from ...weights.loading import check_loadable

    run = open_complete_run(subject)
    check_loadable(subject)
    console.import_quietly("keras", find_devices=False)
    from ...devices.selection import select
    from ...training.prediction import RunNetwork

    with select({"cuda": "gpu", None: "auto"}.get(device, "cpu")).scope():
        yield RunNetwork(run)
