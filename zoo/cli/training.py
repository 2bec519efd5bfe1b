"""Training, and what came of it: `train`, `runs`, `evaluate`."""

import csv
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ..data.sources import check_source
from ..devices.environment import restore_environment
from ..devices.hosts import is_first_process
from ..training.folder import choose_folder
from ..training.recipe import parse_setting
from ..training.recipes import get_recipe
from ..training.runs import COLUMNS, Run, commit_run, list_runs, open_run, summary
from . import console
from ._app import Data, TestData, app, check_subject

TrainDevice = Annotated[
    str | None, typer.Option(metavar="auto|cpu|gpu", help="gpu: fail where there is none. Default: auto.")
]
Count = Annotated[int | None, typer.Option(help="How many devices share each batch. Default: 1.")]
ImageSize = Annotated[
    str | None,
    typer.Option(metavar="PIXELS", help="Resize whole images to a square, or to HEIGHTxWIDTH such as 48x64."),
]
OnBadImage = Annotated[str, typer.Option(metavar="error|skip", help="What to do with images that cannot be read.")]


@app.command()
def train(
    recipe: Annotated[str | None, typer.Argument(help="The recipe; `keras-skip list` shows them.")] = None,
    data: Data = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run. Default: runs/RECIPE.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Length of the run.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order, augmentation and dropout.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any setting, such as optimizer.lr=0.2; repeatable."),
    ] = None,
    image_size: ImageSize = None,
    on_bad_image: OnBadImage = "error",
    validation: Annotated[
        float | None, typer.Option(metavar="FRACTION", help="Hold out part of the training images to measure on.")
    ] = None,
    checkpoint_minutes: Annotated[
        float | None, typer.Option(help="How often to save within an epoch. Default: 10.")
    ] = None,
    checkpoint_steps: Annotated[int | None, typer.Option(help="The same, in steps.")] = None,
    gradients: Annotated[
        int | None, typer.Option(metavar="STEPS", help="How often to measure the gradient's reach, such as 200.")
    ] = None,
    device: TrainDevice = None,
    devices: Count = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Resume an interrupted run, in place of RECIPE.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing run once the new one is complete.")
    ] = False,
) -> None:
    """Train a network; everything about the run goes into its folder. Ctrl-C stops it with a checkpoint."""
    overrides: dict[str, Any] = dict(map(parse_setting, settings or ()))
    overrides |= {name: value for name, value in (("epochs", epochs), ("seed", seed)) if value is not None}
    options: dict[str, Any] = {"out": out, "checkpoint_minutes": checkpoint_minutes}
    options |= {"checkpoint_steps": checkpoint_steps, "gradients": gradients, "overwrite": overwrite or None}
    given = {name: value for name, value in options.items() if value is not None}
    if resume is not None:
        if recipe or data or validation or overrides or given or image_size or on_bad_image != "error":
            raise ValueError(
                "Expected --resume with no other options than --device and --devices. "
                f"Received: --resume {resume} with a recipe or other options"
            )
        _resume(resume, device, devices)
        return
    if recipe is None:
        raise ValueError("Expected a recipe, or --resume RUN. Received: neither")
    chosen = get_recipe(recipe).changed(overrides)
    if is_first_process():
        # Other processes do not write there, and may start later.
        choose_folder(out or Path("runs") / chosen.name, overwrite)
    reading: dict[str, Any] = {"image_size": sides(image_size), "on_bad_image": on_bad_image}
    check_source(data or chosen.source, **reading)
    console.import_quietly("keras", find_devices=False)
    from ..data import load_source
    from ..devices.selection import select
    from ..training.train import train as run_training

    with console.quietly():
        selected = select(device or "auto", 1 if devices is None else devices)
    selected.check(chosen.batch_size)
    with console.reading() as progress:
        source = load_source(data or chosen.source, progress=progress, **reading)
    if validation is not None:
        source = source.with_validation(validation, seed=chosen.seed)
    shown = console.progress_bar(chosen.epochs, len(source.train_labels), chosen.batch_size, selected)
    with console.interruptible(), shown as callbacks:
        run = run_training(recipe, source, **given, callbacks=callbacks, devices=selected, **overrides)
    if selected.hosts.writes:
        _show_run(run)


def sides(text: str | None) -> tuple[int, int] | None:
    """Height and width from "HEIGHTxWIDTH", or from the one number of a square."""
    if text is None:
        return None
    height, _, width = text.partition("x")
    try:
        return int(height), int(width or height)
    except ValueError:
        raise ValueError(f"Expected an image size such as 64 or 48x64. Received: {text!r}") from None


def _resume(folder: Path, device: str | None, devices: int | None) -> None:
    opened = open_run(folder)
    if opened.status == "complete":
        _show_run(commit_run(opened))
        return
    check_source(opened.source)
    restore_environment(opened.record["environment"])
    console.import_quietly("keras", find_devices=False)
    from ..devices.selection import select_recorded
    from ..training.train import resume

    with console.quietly():
        selected = select_recorded(opened.record.get("devices"), device, devices)
    examples, recipe = opened.source["examples"]["train"], opened.recipe
    shown = console.progress_bar(recipe.epochs, examples, recipe.batch_size, selected)
    with console.interruptible(), shown as callbacks:
        run = resume(folder, callbacks=callbacks, devices=selected)
    if selected.hosts.writes:
        _show_run(run)


class Table(StrEnum):
    """How `runs` writes its table."""

    table = "table"
    csv = "csv"


@app.command()
def runs(
    folder: Annotated[Path, typer.Argument(help="Where the folders of the runs are.")] = Path("runs"),
    format: Annotated[Table, typer.Option(help="A table, or comma-separated values with more columns.")] = Table.table,
) -> None:
    """List the runs in a folder: what they train, how far they are, what they reach."""
    found = list_runs(folder)
    if not found:
        raise ValueError(f"Expected a folder with runs. Received: {str(folder)!r}")
    rows = [summary(run) for run in found]
    if format is Table.csv:
        writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return
    table = []
    for run, row in zip(found, rows, strict=True):
        measured = [(part, row[f"{part}_accuracy"]) for part in ("validation", "test")]
        reached = ", ".join(f"{part} {accuracy:.2%}" for part, accuracy in measured if accuracy is not None)
        what = (row[name] for name in ("run", "status", "network", "data", "epochs"))
        table.append((*what, reached or run.record.get("reason", "")))
    console.show_table("Runs", ("run", "status", "network", "data", "epochs", "accuracy"), table)


@app.command()
def report(run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")]) -> None:
    """Write a run's report again: one HTML file, with what its export has proven since."""
    check_subject(run)
    console.import_quietly("keras")
    from ..reports.page import write_report

    console.show_record("Written", {"report": write_report(run)})


@app.command()
def evaluate(
    run_or_network: Annotated[
        str, typer.Argument(metavar="RUN_OR_NETWORK", help="The folder of a run, or with --weights a network.")
    ],
    weights: Annotated[
        str | None, typer.Option(help="Weights that come with the package; `keras-skip results` lists them.")
    ] = None,
    data: TestData = None,
) -> None:
    """Measure a run's network, or weights that come with the package, on test images."""
    check_subject(run_or_network, weights, data)
    console.import_quietly("keras")
    from ..training.evaluation import evaluate as measure

    figures = measure(run_or_network, data, weights=weights)
    console.show_record(
        run_or_network if weights is None else f"{run_or_network}, {weights}",
        {
            "test images": figures["examples"],
            "test accuracy": f"{figures['accuracy']:.2%}",
            "test loss": f"{figures['loss']:.4f}",
        },
    )


def _show_run(run: Run) -> None:
    results = run.results
    console.show_record(
        "Trained",
        {
            "test accuracy": f"{results['test_accuracy']:.2%}",
            "network": f"{run.recipe.network}, {results['parameters']:,} parameters",
            "time": f"{results['seconds']:.0f} s, {results['images_per_second']:.0f} images/s",
            "run": run.path,
            "model": run.model_path,
            "report": run.path / "report.html",
        },
    )
