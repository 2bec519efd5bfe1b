"""The command that trains a network or resumes a run: `train`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import _completion, console
from .._app import command
from .._options import (
    A_FRACTION,
    ABOVE_ZERO,
    Columns,
    Data,
    Epochs,
    ImageSize,
    OnBadImage,
    Resize,
    Seed,
    Settings,
    Shorter,
    SplitColumn,
    Stream,
    Target,
    Task,
    choice,
    number,
    out,
    reading_images,
    reading_tables,
    resizing_images,
)

Recipe = Annotated[
    str | None,
    typer.Argument(
        metavar="NETWORK_OR_RECIPE",
        autocompletion=_completion.networks_and_recipes,
        help="A network, for which the data decide the recipe, or a recipe. `keras-skip list` and `recipes` list them.",
    ),
]
RunFolder = Annotated[Path | None, out("The folder of the run. Default: runs/NETWORK_OR_RECIPE.")]
BatchSize = Annotated[int | None, number("--batch-size", "-b", help="Examples per step. Default: the recipe's.")]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights", "-w", metavar="WEIGHTS", help="Start from these weights: a name such as cifar10, a file, or a run."
    ),
]
Model = Annotated[
    Path | None, typer.Option("--model", metavar="FILE", help="Train the Keras model in this .keras file.")
]
Freeze = Annotated[
    str | None,
    choice("backbone", "norms", "none", help="What stays as it is: everything but the head, or the normalisations."),
]
UnfreezeAfter = Annotated[
    int | None, number(metavar="EPOCHS", help="After how many epochs a frozen backbone trains too.")
]
Keep = Annotated[
    str | None, choice("best", "last", help="Which epoch's weights to keep; best needs --validation. Default: last.")
]
Patience = Annotated[
    int | None, number(metavar="EPOCHS", help="Stop after this many epochs without an improvement; needs --validation.")
]
ClassWeight = Annotated[str | None, choice("balanced", help="Let rare classes count more in the loss.")]
Precision = Annotated[
    str | None,
    choice(
        "float32",
        "mixed_bfloat16",
        "mixed_float16",
        "auto",
        help="auto measures whether half precision is faster and close enough. Default: the recipe's.",
    ),
]
Validation = Annotated[
    float | None,
    number(metavar="FRACTION", check=A_FRACTION, help="Hold out this part of the training examples for validation."),
]
CheckpointMinutes = Annotated[
    float | None,
    number(metavar="MINUTES", check=ABOVE_ZERO, help="Minutes between checkpoints within an epoch. Default: 10."),
]
CheckpointSteps = Annotated[int | None, number(metavar="STEPS", help="Steps between checkpoints within an epoch.")]
Gradients = Annotated[
    int | None,
    number(metavar="STEPS", help="Steps between measurements of the gradient at each layer, such as 200."),
]
Device = Annotated[str | None, choice("auto", "cpu", "gpu", help="gpu fails if there is none. Default: auto.")]
Devices = Annotated[int | None, number(help="How many devices share each batch. Default: 1.")]
Resume = Annotated[
    Path | None,
    typer.Option(
        "--resume",
        "-r",
        metavar="RUN",
        autocompletion=_completion.runs,
        help="Resume this interrupted run; only --device and --devices may be added.",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing run once the new one is complete.")]


@command()
def train(
    recipe: Recipe = None,
    data: Data = None,
    target: Target = None,
    task: Task = None,
    out: RunFolder = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    weights: Weights = None,
    freeze: Freeze = None,
    unfreeze_after: UnfreezeAfter = None,
    model: Model = None,
    keep: Keep = None,
    patience: Patience = None,
    class_weight: ClassWeight = None,
    precision: Precision = None,
    seed: Seed = None,
    settings: Settings = None,
    image_size: ImageSize = None,
    resize: Resize = "crop",
    shorter: Shorter = None,
    stream: Stream = None,
    on_bad_image: OnBadImage = None,
    columns: Columns = None,
    split_column: SplitColumn = None,
    validation: Validation = None,
    checkpoint_minutes: CheckpointMinutes = None,
    checkpoint_steps: CheckpointSteps = None,
    gradients: Gradients = None,
    device: Device = None,
    devices: Devices = None,
    resume: Resume = None,
    overwrite: Overwrite = False,
) -> None:
    """Train a network and keep the run.

    It starts from scratch or from trained weights. Ctrl-C saves a checkpoint and stops; --resume continues from there.
    """
    from ...training.recipe import parse_setting

    overrides = dict(map(parse_setting, settings or ())) | _given(epochs=epochs, batch_size=batch_size, seed=seed)
    overrides |= _given(weights=weights, freeze=freeze, unfreeze_after=unfreeze_after, keep=keep, patience=patience)
    overrides |= _given(class_weight=class_weight, precision=precision)
    options = _given(checkpoint_minutes=checkpoint_minutes, checkpoint_steps=checkpoint_steps, gradients=gradients)
    options |= _given(out=out, overwrite=overwrite or None)
    of_tables = reading_tables(target, task, split_column, columns)
    reading = resizing_images(image_size, resize) | reading_images(shorter, stream, on_bad_image)
    if resume is not None:
        unusual = (resize != "crop", on_bad_image, shorter, stream is not None, of_tables)
        if any((recipe, model, data, validation, overrides, options, image_size, *unusual)):
            raise ValueError(
                "Expected --resume with no other options than --device and --devices. "
                f"Received: --resume {resume} with a recipe or other options"
            )
        _resume(resume, device, devices)
    elif recipe is None and model is None:
        raise ValueError("Expected a network, a recipe, --model FILE or --resume RUN. Received: none of them")
    else:
        reading |= of_tables
        _train(recipe, model, data, reading, validation, (device or "auto", devices or 1), overrides, options)


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _train(
    recipe: str | None,
    model: Path | None,
    data: str | None,
    reading: dict[str, Any],
    validation: float | None,
    wanted: tuple[str, int],
    overrides: dict[str, Any],
    options: dict[str, Any],
) -> None:
    from ...data.sources import check_source
    from ...devices.hosts import is_first_process
    from ...training.folder import choose_folder
    from ...training.request import Request

    request = Request(recipe, model, overrides | _given(source=data))
    chosen = request.recipe()
    if is_first_process():
        # Other processes do not write there, and may start later.
        choose_folder(options.get("out", Path("runs", request.name)), options.get("overwrite", False))
    asked, reading = reading["image_size"], request.reading(chosen.source, reading)
    check_source(chosen.source, **reading)
    console.import_quietly("keras", find_devices=False)
    from ...devices.selection import select
    from ...training.train import train as run_training

    with console.quietly():
        selected = select(*wanted)
    selected.check(chosen.batch_size, chosen.accumulate)
    with console.reading() as progress:
        source = request.load(chosen.source, progress=progress, **reading)
    if asked is None and (size := source.origin["options"]["image_size"]) and selected.hosts.writes:
        print(f"Images of several sizes, read as {size[0]}x{size[1]} (height x width)", file=sys.stderr)
    if selected.hosts.writes:
        console.say_reading(source)
    if validation is not None:
        source = source.with_validation(validation, seed=chosen.seed)
    chosen = request.recipe(source)
    if request.chooses and selected.hosts.writes:
        print(request.explain(source), file=sys.stderr)
    with console.interruptible():
        run = run_training(recipe, source, **options, model=model, devices=selected, **overrides)
    if selected.hosts.writes:
        _show_run("Trained", run)


def _resume(folder: Path, device: str | None, devices: int | None) -> None:
    from ...data.sources import check_source
    from ...devices.environment import restore_environment
    from ...training.runs import commit_run, open_run

    opened = open_run(folder)
    if opened.status == "complete":
        _show_run("Already complete", commit_run(opened))
        return
    check_source(opened.source)
    restore_environment(opened.record["environment"])
    console.import_quietly("keras", find_devices=False)
    from ...devices.selection import select_recorded
    from ...training.train import resume

    with console.quietly():
        selected = select_recorded(opened.record.get("devices"), device, devices)
    with console.interruptible():
        run = resume(folder, devices=selected)
    if selected.hosts.writes:
        _show_run("Trained", run)


def _show_run(title: str, run: Any) -> None:
    from ...tasks import task_of

    results = run.results
    console.show_record(
        title,
        {
            **{f"test {one.title}": one.text(results[f"test_{one.name}"]) for one in task_of(run.source).figures},
            "network": f"{run.recipe.network}, {results['parameters']:,} parameters",
            **_choices(run),
            "time": f"{results['seconds']:.0f} s, {results['images_per_second']:.0f} examples/s",
            "run": run.path,
            "model": run.model_path,
            "report": run.path / "report.html",
        },
    )


def _choices(run: Any) -> dict[str, Any]:
    """What was decided while the run was set up, and the epoch whose weights were kept."""
    found, record = {}, run.record
    if record.get("model", {}).get("ending") == "softmax":
        found["softmax"] = "left out, so that the network gives logits; an export puts it back"
    if "chosen_by" in record:
        found["recipe"] = f"{run.recipe.name}, chosen for {record['chosen_by']['examples']:,} examples"
    if "precision" in record:
        found["precision"] = f"{run.recipe.precision}, measured"
    if "best_epoch" in run.results:
        found["best epoch"] = f"{run.results['best_epoch']} of {run.epochs_done}"
    return found
