"""Trains the epochs that are left with Keras's `fit`, then saves and measures the network."""

from collections.abc import Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import keras

from .._files import replace_file
from ..analysis.gradients import GradientFlow, probe_batches
from ..data import Batches, Source
from ..data.augmentation.transforms import resized_width
from ..data.batches import batches_of, raise_failures
from ..devices.environment import now
from ..devices.selection import Devices
from ..networks.counting import count
from ..networks.registry import in_present_order
from ..reports.page import GRADIENTS, write_report
from ..tasks import task_of
from ..tasks.task import measured
from .best import KeepBest, best_row, check_validation, is_over
from .callbacks import Checkpoint, Events, History, SetEpoch, StopWhenNotFinite, UseAverages
from .checkpoints import Checkpoints, Progress
from .distillation import TEACHER, mix, read_teacher
from .evaluation import evaluation_batches
from .freezing import Freezing, check_unfreezing
from .initialization import initialize
from .interruption import Stop, TrainingError, catch_stop_signals
from .learner import Learner, allow_sizes, build_metrics, make_learner
from .meter import meter
from .recipe import Recipe
from .runs import Run, update
from .start import build_network, decay_kernels, keep_initial, save_network, set_seeds


class Training:
    """A network with its data, devices and checkpoints, ready to be trained in this process.

    Args:
        folder: The folder of the run.
        recipe: How to train.
        source: The data.
        devices: The devices that share each batch.
        initial: The network before its first step. Default: it is built as the recipe says.
        verbose: Whether to show how far the measurements at the end are.
    """

    def __init__(
        self,
        folder: Path,
        recipe: Recipe,
        source: Source,
        devices: Devices,
        initial: keras.Model | None = None,
        verbose: bool = False,
    ) -> None:
        self.verbose = verbose and devices.hosts.writes
        self.recipe, self.source, self.devices = recipe, source, devices
        self.part = "test" if source.validation_inputs is None else "validation"
        self.task = task_of(source)
        check_validation(recipe, self.part)
        check_unfreezing(recipe)
        self.keeps_initial = initial is not None or recipe.weights is not None
        self.batches = batches_of(
            source,
            "train",
            source.preprocessing,
            recipe.batch_size,
            seed=recipe.seed,
            augmentation=recipe.augment,
            epochs=recipe.epochs,
            shard=devices.hosts.shard,
        )
        keras.utils.set_random_seed(recipe.seed)
        steps = recipe.epochs * self.batches.batches_per_epoch
        self.learner: Learner
        with devices.scope():
            self.model = build_network(recipe, source) if initial is None else initial
            if self.keeps_initial:
                set_seeds(self.model, recipe.seed)
            if initial is not None and recipe.weights is None:
                decay_kernels(self.model, recipe.optimizer.weight_decay)
            # Before some of them are frozen.
            self.parameters = self.model.trainable_variables
            initialize(self.model, recipe.initialization, source)
            self.freezing = Freezing(self.model, recipe.freeze)
            # The optimizer has the variables that train later too, so that all checkpoints have the same ones.
            self.freezing.set(not recipe.unfreeze_after)
            self.teacher = read_teacher(recipe, source, folder)
            distil = self.teacher and partial(mix, self.teacher, recipe.teacher_weight)
            self.learner, metrics = make_learner(self.model, recipe, steps, source, distil)
            if recipe.augment.sizes:
                for network in filter(None, (self.learner, self.teacher)):
                    allow_sizes(network, _shapes(recipe, source))
            build_metrics(self.learner, devices.feed(self._evaluation_batches(self.part)))
        self.checkpoints = Checkpoints(folder / "checkpoints", self.learner, metrics)

    def keep_initial(self, folder: Path) -> None:
        """Writes the teacher into the folder of the run, and the network before its first step, if another run could
        not build it.
        """
        if self.teacher is not None:
            with replace_file(folder / TEACHER) as beside:
                self.teacher.save(beside)
        if not self.keeps_initial:
            return
        frozen = bool(self.freezing.before)
        self.freezing.set(False)
        keep_initial(self.model, folder)
        self.freezing.set(frozen)

    def complete(self, run: Run, progress: Progress, callbacks: Sequence[keras.callbacks.Callback]) -> Run:
        """Trains from the progress to the end, and records in run.json how it ended."""
        try:
            with (
                catch_stop_signals() as stop,
                closing(self.batches),
                closing(Events(run.path / "tensorboard", progress)) as events,
            ):
                with self.devices.scope():
                    self._fit(run, progress, stop, events, callbacks)
                    run = update(run, results=self._finish(run, progress))
                # Devices that share batches would pad the last one, so the report loads the network again.
                write_report(run, self.source, self.model if self.devices.count == 1 else None)
            return update(run, status="complete", finished=now())
        except KeyboardInterrupt as error:
            _record_end(run, "interrupted", error)
            raise
        except OSError as error:
            _record_end(run, "failed", error)
            raise TrainingError(f"{error}. {resume_hint(run)}") from error
        except BaseException as error:
            _record_end(run, "failed", error)
            raise

    def _fit(
        self,
        run: Run,
        progress: Progress,
        stop: Stop,
        events: Events,
        callbacks: Sequence[keras.callbacks.Callback],
    ) -> None:
        """Trains the epochs that are left."""
        epochs, every = self.recipe.epochs, self.recipe.evaluate_every
        ours = self._callbacks(run, progress, stop, events)
        for start, end, batch in self._spans(progress):
            if self.learner.stop_training or is_over(progress.rows, self.recipe.patience, self.task.figures[0]):
                break
            self.batches.position = (start, batch)
            if self.recipe.unfreeze_after:
                self.freezing.set(start < self.recipe.unfreeze_after)
            if self.recipe.augment.sizes or self.recipe.unfreeze_after:
                # TensorFlow would trace the step of a second size with sizes that are unknown, and what is frozen is
                # part of the step.
                self.learner.make_train_function(force=True)
            evaluated = self._evaluation_batches(self.part)
            with raise_failures(self.batches, evaluated):
                self.learner.fit(
                    self.devices.feed(self.batches, self.recipe.accumulate),
                    initial_epoch=start,
                    epochs=end,
                    shuffle=False,
                    validation_data=self.devices.feed(evaluated),
                    validation_freq=[*range(every, epochs, every), epochs],
                    verbose=0,
                    callbacks=[*ours, *callbacks],
                )

    def _callbacks(self, run: Run, progress: Progress, stop: Stop, events: Events) -> list[keras.callbacks.Callback]:
        """The callbacks of every run, in the order that they need."""
        if not progress.batch:
            # Keras only resets metrics that a step has updated, and those in this checkpoint are of an evaluation.
            self.checkpoints.reset_metrics()
        metrics = self.checkpoints.get_metrics() if progress.batch else None
        ours = [
            SetEpoch(self.batches, self.checkpoints, metrics),
            *([UseAverages()] if self.learner.averages else []),
            StopWhenNotFinite(),
            History(run.path / "history.csv", progress, self.part, self.task),
            KeepBest(self.recipe, self.task.figures[0], progress, self.checkpoints),
            events,
            Checkpoint(
                self.checkpoints,
                progress,
                self.batches,
                run.record["checkpoint_minutes"],
                run.record["checkpoint_steps"],
                stop,
                self.devices.hosts,
                resume_hint(run) if self.devices.hosts.writes else "Process 0 has saved a checkpoint",
            ),
        ]
        if every := run.record.get("gradients"):
            probed = probe_batches(self.source, self.source.preprocessing, self.recipe.seed)
            ours.append(
                GradientFlow(run.path / GRADIENTS, probed, every, self.task.loss(self.source, kind=self.recipe.loss))
            )
        return ours

    def _spans(self, progress: Progress) -> list[tuple[int, int, int]]:
        """What each `fit` trains: the first epoch, the one after the last, and the first batch.

        The rest of an epoch takes a `fit` of its own, and so does each size of the images; see `Batches`. So do the
        epochs after the one that ends with everything trainable.
        """
        first, last, height = progress.epoch, self.recipe.epochs, self.batches.height
        starts = [
            epoch
            for epoch in range(first, last)
            if epoch == first
            or (epoch == first + 1 and progress.batch)
            or height(epoch) != height(epoch - 1)
            or epoch == self.recipe.unfreeze_after
        ]
        ends = [*starts[1:], last]
        return [(s, e, progress.batch if s == first else 0) for s, e in zip(starts, ends, strict=False)]

    def _finish(self, run: Run, progress: Progress) -> dict[str, Any]:
        """Saves the trained network and measures it."""
        if self.learner.averages:
            self.learner.swap()
        last = progress.rows[-1]
        results: dict[str, Any] = {}
        if self.recipe.keep == "best" and (best := best_row(progress.rows, self.task.figures[0])):
            last, results = best, {"best_epoch": int(best["epoch"])}
            self.checkpoints.use_best()
        results |= {name: last[name] for name in last if name.startswith(self.part)}
        for part in (self.part, "test"):
            if f"{part}_loss" not in results:
                results |= {f"{part}_{name}": figure for name, figure in self._evaluate(part).items()}
        save_network(self.model, run.model_path)
        seconds = sum(row["seconds"] for row in progress.rows)
        return {
            **results,
            # The history's figures are means over the last epoch, on augmented images and while the weights change.
            **{f"train_{name}": figure for name, figure in self._evaluate("train").items() if name != "loss"},
            "parameters": count(self.parameters),
            "seconds": round(seconds, 1),
            "images_per_second": round(len(progress.rows) * len(self.source.train_inputs) / seconds, 1),
        }

    def _evaluate(self, part: str) -> dict[str, float]:
        """Measures the network on a part of the data, without augmentation."""
        batches = self._evaluation_batches(part)
        what = f"{part} examples" if self.verbose else ""
        with raise_failures(batches), meter(what, batches.batches_per_epoch) as shown:
            logs = self.learner.evaluate(self.devices.feed(batches), return_dict=True, verbose=0, callbacks=shown)
        return measured(self.task, logs)

    def _evaluation_batches(self, part: str) -> Batches:
        return evaluation_batches(self.source, self.source.preprocessing, part, self.devices)


def _shapes(recipe: Recipe, source: Source) -> list[tuple[int, ...]]:
    """The shapes of the images of all sizes that a recipe trains on."""
    height, width, channels = source.input_shape
    heights = [tall for _, tall in recipe.augment.sizes]
    return [in_present_order((tall, resized_width(height, width, tall), channels)) for tall in heights]


def resume_hint(run: Run) -> str:
    """Names the command that resumes a run."""
    return f"The last checkpoint is in {run.path / 'checkpoints'}; resume with: keras-skip train --resume {run.path}"


def _record_end(run: Run, status: str, error: BaseException) -> None:
    """Records how a run ended. On a full disk that fails too, and the first error is the one to show."""
    with suppress(OSError):
        update(run, status=status, finished=now(), reason=str(error) or type(error).__name__)
