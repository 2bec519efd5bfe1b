"""Training: a run from its beginning, or from where it was stopped, into the folder that keeps it all."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

from ..data import Preprocessing, Source, load_source
from ..devices.environment import environment, now, process, restore_environment, revision, versions
from ..devices.selection import Devices, select, select_recorded
from .callbacks import check_minutes
from .checkpoints import Progress
from .folder import choose_folder, lock_run, remove_partial_files
from .learner import precision
from .loop import Training
from .recipe import Recipe, check_interval, to_plain
from .recipes import get_recipe
from .runs import Run, commit_run, open_run, start_run, update


def train(
    recipe: str | Recipe,
    data: str | Source | None = None,
    out: str | Path | None = None,
    *,
    overwrite: bool = False,
    validation: float = 0.0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    checkpoint_minutes: float | None = 10,
    checkpoint_steps: int | None = None,
    gradients: int | None = None,
    devices: Devices | None = None,
    **overrides: Any,
) -> Run:
    """Trains a network and keeps everything about it in a folder.

    Sets Python's, NumPy's and Keras's global seeds to the recipe's. On Ctrl-C or SIGTERM it stops after the step it is
    in, with a checkpoint; however it ends, `resume` brings it to the same result.

    Args:
        recipe: A name of `zoo.list_recipes()`, or a `Recipe`.
        data: The name of a data source, a path to one, or a `Source`. Default: the recipe's.
        out: The folder, which must not exist. Default: runs/ and the recipe's name.
        overwrite: Whether to replace an existing run once the new one is complete. Until then that is in OUT.new, and
            can be resumed there.
        validation: Fraction of the training images that is held out and measured after each epoch, in place of the
            test images, which are then measured once, at the end.
        callbacks: Keras callbacks beside our own, such as one that shows progress.
        checkpoint_minutes, checkpoint_steps: How often to save the state within an epoch; None: not. It is saved
            after each epoch in any case.
        gradients: How many steps lie between two measurements of the gradient's reach, which gradients.csv and the
            report then show over the training; with 200 they cost about 2 % of a step at most. None: it is
            measured once, at the end.
        devices: What `zoo.devices.select` has chosen, called before anything else was computed; with several processes,
            that of rank 0 alone keeps the folder. Default: one device, the backend's own choice.
        **overrides: Settings of the recipe, such as `epochs=5`, or `**{"optimizer.lr": 0.2}`.

    Returns:
        The `Run`, with its results.

    Raises:
        ValueError: For an unknown name or setting, a value out of range, or a batch that the devices do not divide.
        FileExistsError: If the folder exists.
        OSError: If the folder cannot be written to, or its disk has too little space.
        TrainingError: If the loss is not finite, if the disk fails, or if another process trains in the folder.
        Interrupted: A KeyboardInterrupt, after Ctrl-C or SIGTERM.

    Example:

    >>> import zoo
    >>> run = zoo.train("plain_mlp_digits", out="runs/plain", epochs=1)  # doctest: +SKIP
    >>> run.results["test_accuracy"]  # doctest: +SKIP
    """
    if data is not None:
        overrides["source"] = data.name if isinstance(data, Source) else str(data)
    chosen = get_recipe(recipe).changed(overrides)
    devices = devices or select()
    devices.check(chosen.batch_size)
    for name, steps in (("gradients", gradients), ("checkpoint_steps", checkpoint_steps)):
        if steps is not None:
            check_interval(steps, name)
    check_minutes(checkpoint_minutes)
    if gradients is not None and devices.count > 1:
        raise ValueError(f"Expected one device for gradients. Received: gradients={gradients}, {devices.count} devices")
    folder = Path("runs") / chosen.name if out is None else Path(out)
    new = choose_folder(folder, overwrite) if devices.hosts.writes else folder
    source = load_source(chosen.source if data is None else data)
    if validation:
        source = source.with_validation(validation, seed=chosen.seed)
    record = {
        "recipe": chosen.as_dict(),
        "overrides": {name: to_plain(value) for name, value in overrides.items()},
        "seed": chosen.seed,
        "source": source.as_dict(),
        "checkpoint_minutes": checkpoint_minutes,
        "checkpoint_steps": checkpoint_steps,
        "gradients": gradients,
        "versions": versions(),
        "revision": revision(),
        "environment": environment(),
        "devices": devices.report(),
        "process": process(),
        "status": "running",
        "started": now(),
        "results": {},
    }
    with precision(chosen.precision), _place(new, devices) as place, ExitStack() as claims:
        if new != folder:
            record["replaces"] = folder.resolve().name
            claims.enter_context(lock_run(folder))
        training = Training(place, chosen, source, devices)
        training.checkpoints.check_space(place)
        claims.enter_context(lock_run(place))
        run = training.train_to_end(start_run(place, record), Progress(), callbacks)
    return commit_run(run)


def resume(
    run: Run | str | Path,
    data: Source | None = None,
    *,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    devices: Devices | None = None,
) -> Run:
    """Resumes a run that was stopped, killed or failed, and ends with the result of an uninterrupted run.

    The result is bit for bit the same with the same versions, machine, devices and number of threads.

    Args:
        run: A run or its folder. One that is complete comes back as it is.
        data: The `Source` that the run was given, if it was given one that has no name. It is split and preprocessed
            as it was then.
        callbacks: As in `train`.
        devices: As in `train`. Default: those with which the run began, as many and of the same kind.

    Returns:
        The `Run`, with its results.

    Raises:
        ValueError: If there is no such run, or if its data or its backend is another one now.
        OSError, TrainingError, Interrupted: As in `train`.

    Example:

    >>> import zoo
    >>> zoo.resume("runs/plain").status  # doctest: +SKIP
    'complete'
    """
    opened = open_run(run)
    if opened.status == "complete":
        return commit_run(opened)
    restore_environment(opened.record["environment"])
    devices = devices or select_recorded(opened.record.get("devices"))
    devices.check(opened.recipe.batch_size)
    source = _restore_source(load_source(opened.source if data is None else data), opened.source)
    with _place(opened.path, devices, again=True) as place, lock_run(place), precision(opened.recipe.precision):
        remove_partial_files(place)
        training = Training(place, opened.recipe, source, devices)
        progress = training.checkpoints.restore()
        training.checkpoints.check_space(place)
        again = {"at": now(), "epoch": progress.epoch, "batch": progress.batch, **process()}
        resumed = [*opened.record.get("resumed", ()), again]
        changes = {"status": "running", "devices": devices.report(), "process": process(), "resumed": resumed}
        run = training.train_to_end(update(Run(place, opened.record), **changes), progress, callbacks)
    return commit_run(run)


@contextmanager
def _place(folder: Path, devices: Devices, again: bool = False) -> Iterator[Path]:
    """The run's folder; for a process that is not to write there one of its own, which is thrown away.

    To go on, that takes the checkpoints. Process 0 changes the folder meanwhile: of what is copied, it only removes
    checkpoints that are damaged.
    """
    if devices.hosts.writes:
        yield folder
        return
    with tempfile.TemporaryDirectory() as own:
        copies = Path(own, "checkpoints")
        copies.mkdir()
        for path in folder.glob("checkpoints/step-*.npz") if again else ():
            with suppress(FileNotFoundError):
                shutil.copy(path, copies)
        yield Path(own)


def _restore_source(source: Source, recorded: Mapping[str, Any]) -> Source:
    """The data with which a run began, split and preprocessed as it was then; a ValueError for other data."""
    if "validation" in recorded:
        source = source.with_validation(**recorded["validation"])
    source = replace(source, preprocessing=Preprocessing.from_dict(recorded["preprocessing"]))
    found = source.as_dict()
    different = [name for name in ("fingerprint", "examples", "class_names") if found[name] != recorded[name]]
    if different:
        raise ValueError(
            f"Expected the data with which the run began, {recorded['name']} with {different[0]}="
            f"{recorded[different[0]]}. Received: {found['name']} with {different[0]}={found[different[0]]}"
        )
    return source
