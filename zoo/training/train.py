"""Trains a run from its beginning, or resumes one from its last checkpoint; `zoo.training` has the map."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

from ..data import Preprocessing, Source, load_source
from ..data.datasets import Data, name_of
from ..data.workers.count import count_workers
from ..devices.environment import environment, now, process, restore_environment, revision, versions
from ..devices.selection import Devices, select, select_recorded
from ..tasks import task_of
from .callbacks import check_intervals
from .checkpoints import Progress
from .distillation import TEACHER
from .folder import choose_folder, lock_run, remove_partial_files
from .learner import precision
from .loop import Training
from .progress import progress_bar
from .recipe import Recipe, to_plain
from .request import Request
from .runs import Run, commit_run, open_run, start_run, update
from .start import NETWORK, WEIGHTS, read_initial


def train(
    recipe: str | Recipe | None,
    data: "str | Source | Data | None" = None,
    out: str | Path | None = None,
    *,
    model: keras.Model | str | Path | None = None,
    overwrite: bool = False,
    validation: float = 0.0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: bool = True,
    checkpoint_minutes: float | None = 10,
    checkpoint_steps: int | None = None,
    gradients: int | None = None,
    devices: Devices | None = None,
    **overrides: Any,
) -> Run:
    """Trains a network and keeps everything about it in a folder.

    Sets the global seeds of Python, NumPy and Keras to that of the recipe. On Ctrl-C or SIGTERM it finishes the current
    step, saves a checkpoint and stops. However a run ends, `resume` brings it to the same result.

    Args:
        recipe: A name of `zoo.list_recipes()`, a `Recipe`, or the name of a network: then the recipe is chosen by the
            number of training examples, and by whether the network starts from `weights`. None: chosen for `model`.
        data: The name of a data source, a path to one, or a `Source`. Or data in memory: a dictionary of arrays,
            x_train and y_train (also x_test, y_test, x_val, y_val), a pair (x, y), a `keras.utils.PyDataset`, a batched
            `tf.data.Dataset` or a `DataLoader` of torch. A data set is read into memory once, in its order, so it must
            end. Without x_test, a fifth is for testing. Default: the recipe's.
        out: The folder, which must not exist. Default: runs/ and the name of the recipe or the network.
        model: A Keras model of your own, or its `.keras` file, to train in place of a network of the zoo. It takes the
            inputs of the data, preprocessed unless it has a Rescaling or Normalization layer, and ends in logits or a
            softmax, or for a regression in the numbers themselves. It is copied, and the run keeps the copy. A model
            whose class is not registered with `keras.saving.register_keras_serializable`, or has no config, cannot be
            copied: it is trained itself, and `resume` needs it too.
        overwrite: Whether to replace an existing run once the new one is complete. Until then the new one is in
            OUT.new, and can be resumed there.
        validation: Fraction of the training images to hold out. They are measured after each epoch, and the test images
            only once, at the end.
        callbacks: More Keras callbacks.
        verbose: Whether to show on standard error how far the training is, and the time left: on a terminal a bar,
            elsewhere a line for each epoch, and for each minute of a long one.
        checkpoint_minutes, checkpoint_steps: How often to save the state within an epoch; None saves it only after
            each epoch.
        gradients: The number of steps between measurements of the norms of the gradients; gradients.csv and the report
            then show them over the training. A measurement every 200 steps costs at most 2 % more time. None measures
            them once, at the end.
        devices: The result of `zoo.devices.select`, which must be called before anything is computed. With several
            processes only that of rank 0 writes the folder. Default: one device, chosen by the backend.
        **overrides: Settings of the recipe, such as `epochs=5`, `weights="cifar10"`, or `**{"optimizer.lr": 0.2}`. With
            `weights`, images are preprocessed as for these weights, where that is known.

    Returns:
        The `Run`, with its results.

    Raises:
        ValueError: If a name or setting is unknown, a value is out of range, or batches cannot be shared evenly.
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
        overrides["source"] = data.name if isinstance(data, Source) else name_of(data)
    request = Request(recipe, model, overrides)
    devices = devices or select()
    devices.check(request.recipe().batch_size, request.recipe().accumulate)
    # Refuses another setting before data are read.
    count_workers()
    check_intervals(checkpoint_minutes, checkpoint_steps, gradients, devices)
    folder = Path("runs") / request.name if out is None else Path(out)
    new = choose_folder(folder, overwrite) if devices.hosts.writes else folder
    source = request.load(request.recipe().source if data is None else data)
    if validation:
        source = source.with_validation(validation, seed=request.recipe().seed)
    chosen, source, initial, described = request.resolve(source, devices)
    if gradients and not described.get("model", {}).get("kept", True):
        raise ValueError(
            f"Expected gradients=None for a model that Keras cannot copy, {chosen.network}. "
            f"Received: gradients={gradients}"
        )
    record = {
        "recipe": chosen.as_dict(),
        "overrides": {name: to_plain(value) for name, value in request.overrides.items()},
        "seed": chosen.seed,
        "source": source.as_dict(),
        "checkpoint_minutes": checkpoint_minutes,
        "checkpoint_steps": checkpoint_steps,
        "gradients": gradients,
        **described,
        **_describe_session(devices),
        "status": "running",
        "started": now(),
        "results": {},
    }
    with precision(chosen.precision), _open_folder(new, devices) as own_folder, ExitStack() as entered:
        if new != folder:
            record["replaces"] = folder.resolve().name
            entered.enter_context(lock_run(folder))
        training = Training(own_folder, chosen, source, devices, initial, verbose)
        training.checkpoints.check_space(own_folder, chosen.keep)
        entered.enter_context(lock_run(own_folder))
        shown = entered.enter_context(progress_bar(chosen, source.counts, devices, task_of(source), verbose))
        started = start_run(own_folder, record, training.keep_initial)
        run = training.complete(started, Progress(), [*shown, *callbacks])
    return commit_run(run)


def resume(
    run: Run | str | Path,
    data: "Source | Data | None" = None,
    *,
    model: keras.Model | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: bool = True,
    devices: Devices | None = None,
) -> Run:
    """Resumes a run that was stopped, killed or failed, and ends with the result of an uninterrupted run.

    The result is bit for bit the same with the same versions, machine, devices and number of threads.

    Args:
        run: A run or its folder. A complete run is returned as it is, and nothing is trained.
        data: The `Source`, the arrays or the data set that the run was trained on, if `load_source` cannot find it by
            its name. It is split and preprocessed as before. A data set must have its examples in the same order.
        model: The model that the run began with, if the run could not keep it; see `train`.
        callbacks, verbose: As in `train`.
        devices: As in `train`. Default: as many devices as the run began with, of the same kind.

    Returns:
        The `Run`, with its results.

    Raises:
        ValueError: If there is no such run, or if its data or backend has changed.
        OSError, TrainingError, Interrupted: As in `train`.

    Example:

    >>> import zoo
    >>> zoo.resume("runs/plain").status  # doctest: +SKIP
    'complete'
    """
    opened = open_run(run)
    recipe = opened.recipe
    if opened.status == "complete":
        return commit_run(opened)
    restore_environment(opened.record["environment"])
    devices = devices or select_recorded(opened.record.get("devices"))
    devices.check(recipe.batch_size, recipe.accumulate)
    source = _restore_source(load_source(opened.source if data is None else data), opened.source)
    with _open_folder(opened.path, devices, resumed=True) as folder, lock_run(folder), precision(recipe.precision):
        remove_partial_files(folder)
        with devices.scope():
            initial = read_initial(Run(folder, opened.record), source, model)
        training = Training(folder, recipe, source, devices, initial, verbose)
        progress = training.checkpoints.restore()
        training.checkpoints.check_space(folder, recipe.keep)
        again = {"at": now(), "epoch": progress.epoch, "batch": progress.batch, **process()}
        resumed = [*opened.record.get("resumed", ()), again]
        changes = {"status": "running", "devices": devices.report(), "process": process(), "resumed": resumed}
        with progress_bar(recipe, source.counts, devices, task_of(source), verbose) as shown:
            run = training.complete(update(Run(folder, opened.record), **changes), progress, [*shown, *callbacks])
    return commit_run(run)


def _describe_session(devices: Devices) -> dict[str, Any]:
    """Says with which versions, on which devices and in which process a run is trained."""
    return {
        "versions": versions(),
        "revision": revision(),
        "environment": environment(),
        "devices": devices.report(),
        "process": process(),
    }


@contextmanager
def _open_folder(folder: Path, devices: Devices, resumed: bool = False) -> Iterator[Path]:
    """Gives the folder to the process that writes it, and a temporary one to each of the others.

    A resumed run needs its checkpoints there. Process 0 may change the folder while they are copied, but it only
    removes damaged checkpoints.
    """
    if devices.hosts.writes:
        yield folder
        return
    with tempfile.TemporaryDirectory() as own:
        copies = Path(own, "checkpoints")
        copies.mkdir()
        for path in folder.glob("checkpoints/step-*.npz") if resumed else ():
            with suppress(FileNotFoundError):
                shutil.copy(path, copies)
        for name in (NETWORK, WEIGHTS, TEACHER):
            with suppress(FileNotFoundError):
                shutil.copy(folder / name, own)
        yield Path(own)


def _restore_source(source: Source, recorded: Mapping[str, Any]) -> Source:
    """Splits and preprocesses the data as a run's record says; raises a ValueError if they are not the run's data."""
    if "validation" in recorded:
        source = source.with_validation(**recorded["validation"])
    source = replace(source, preprocessing=Preprocessing.from_dict(recorded["preprocessing"]))
    found = source.as_dict()
    # The records of older runs do not name their task.
    recorded = {"task": "classification", "target_names": [], **recorded}
    found = {"target_names": [], **found}
    facts = ("fingerprint", "examples", "task", "class_names", "target_names")
    different = [name for name in facts if found[name] != recorded[name]]
    if different:
        raise ValueError(
            f"Expected the data that the run began with, {recorded['name']} with {different[0]}="
            f"{recorded[different[0]]}. Received: {found['name']} with {different[0]}={found[different[0]]}"
        )
    return source
