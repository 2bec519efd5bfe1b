"""Measures how far the gradient reaches: its norm at each layer of a network, from the image to the logits.

A training step keeps the norms instead of changing the weights, so the code is the same on each backend of Keras. It
runs on a copy, so the network itself does not change.
"""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_skip.surgery.graph import as_functional, finalize_statistics

from .._files import write_csv
from .._names import shorten
from ..data import Batches, Preprocessing, Source
from ..data.batches import batches_of
from ..networks.catalogue import MODELS
from ..networks.registry import build
from ..tasks import task_of
from ..training.evaluation import check_shapes, network_shape, resolve_model_and_data
from ..training.settings import check_interval
from ..weights.loading import load

PROBE_BATCH = 128


class Norm(NamedTuple):
    """The Euclidean norm of the gradient of the cross-entropy by the kernels of one layer, or of one block."""

    network: str
    step: int
    place: int
    layer: str
    norm: float


class GradientProbe:
    """Measures the norms of a network's gradients.

    The gradient is that of the mean loss over a batch in training mode, without regularisation.

    Args:
        model: A network of logits, or of what the loss takes.
        name: The name in the figures. Default: that of the model.
        once: Whether to skip compiling, which takes longer than one or two measurements.
        loss: The loss whose gradient it is. Default: the cross-entropy.

    Example:

    >>> import zoo
    >>> digits = zoo.load_source("digits")
    >>> batches = zoo.Batches(digits.train_inputs, digits.train_targets, 10, digits.preprocessing, 64)
    >>> probe = zoo.GradientProbe(zoo.build("plain_mlp", input_shape=(8, 8, 1)))
    >>> norms = probe.measure(*batches[0])
    >>> norms[0].norm < norms[-1].norm
    True
    """

    def __init__(
        self,
        model: keras.Model,
        name: str | None = None,
        once: bool = False,
        loss: keras.losses.Loss | None = None,
    ) -> None:
        # Only the layers: a trained network may also hold moving averages of its weights.
        whole = as_functional(model)
        self.model, self.name = keras.Model(whole.input, whole.output), name or model.name
        copy = keras.models.clone_model(self.model)
        self._copy = _Measured(copy.input, copy.output, name="measured")
        self._copy.measured_loss = loss
        self._norms = _Norms()
        slow = once or keras.backend.backend() == "tensorflow"
        self._copy.compile(
            optimizer=self._norms, run_eagerly=once, jit_compile=False if slow else "auto", auto_scale_loss=False
        )
        self._norms.build(self._copy.trainable_variables)

    def measure(self, images: np.ndarray, labels: np.ndarray, step: int = 0) -> list[Norm]:
        """Measures the norms at the current weights of the model, in the order of its layers.

        Args:
            images: Preprocessed inputs, such as (examples, height, width, channels).
            labels: One-hot, (examples, classes), or targets as the loss takes them.
            step: The training step, which is recorded with the norms.
        """
        for ours, theirs in zip(self._copy.variables, self.model.variables, strict=True):
            ours.assign(ops.convert_to_numpy(theirs))
        finalize_statistics(self._copy)
        self._copy.train_on_batch(images, labels)
        squares: dict[str, float] = {}
        for variable, norm in zip(self._copy.trainable_variables, self._norms.norms, strict=True):
            *blocks, _, kind = variable.path.split("/")
            if kind == "kernel":
                layer = "/".join(blocks) or variable.path.split("/")[0]
                squares[layer] = squares.get(layer, 0.0) + float(ops.convert_to_numpy(norm)) ** 2  # in float64
        return [Norm(self.name, step, index, layer, squares[layer] ** 0.5) for index, layer in enumerate(squares, 1)]


class GradientFlow(keras.callbacks.Callback):
    """Writes the norms of the gradients during training, as comma-separated values.

    Args:
        path: The file. A resumed run keeps the rows up to its step; a new run replaces the file.
        batches: The gradient is measured on the first of these batches.
        every: The number of steps between measurements. Each measurement costs about as much as a step.
        loss: As in `GradientProbe`.

    Raises:
        ValueError: If `every` is not a whole number of at least 1.

    Example:

    >>> import zoo
    >>> flow = zoo.GradientFlow("gradients.csv", batches)  # doctest: +SKIP
    >>> zoo.train("highway_mlp_digits", callbacks=[flow])  # doctest: +SKIP
    """

    def __init__(
        self, path: str | Path, batches: Batches, every: int = 200, loss: keras.losses.Loss | None = None
    ) -> None:
        super().__init__()
        check_interval(every, "every")
        self.path, self.every, self.loss = Path(path), every, loss
        self.images, self.labels = batches.batch(0, 0)

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        self.step = int(ops.convert_to_numpy(self.model.optimizer.iterations))
        resumed = self.step > 0 and self.path.exists()
        kept = [norm for norm in read(self.path) if norm.step <= self.step] if resumed else []
        write(self.path, kept)
        self.probe = GradientProbe(self.model, loss=self.loss)
        if not any(norm.step == self.step for norm in kept):
            self._measure()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        self.step += 1
        if self.step % self.every == 0:
            self._measure()

    def _measure(self) -> None:
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()
        with self.path.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(self.probe.measure(self.images, self.labels, self.step))


def probe_batches(
    source: Source, preprocessing: Preprocessing, seed: int = 0, batch_size: int = PROBE_BATCH
) -> Batches:
    """Makes the batches that gradients are measured on: training images, shuffled, without augmentation."""
    return batches_of(source, "train", preprocessing, batch_size, seed=seed)


def compare(
    networks: Iterable[str],
    source: Source,
    batch_size: int = 256,
    seed: int = 0,
    arguments: Mapping[str, Any] | None = None,
) -> list[Norm]:
    """Measures the norms of several networks on the same images: new ones by name, trained ones by the folder of a run.

    Args:
        networks: Names of `zoo.list_models()`, or folders of runs.
        source: The data. All networks see the same training images, whatever the seed.
        batch_size: How many images.
        seed: Set again before each new network is built.
        arguments: Arguments of new networks, such as {"depth": 30}.

    Raises:
        ValueError: If there is no such network or run, or if the images do not fit a network.
    """
    norms: list[Norm] = []
    for name, shown in shorten(networks).items():
        keras.utils.set_random_seed(seed)
        preprocessing = source.preprocessing
        if name in MODELS:
            model = build(name, network_shape(source), source.outputs, **(arguments or {}))
        elif (Path(name) / "run.json").is_file():
            model, _, preprocessing = resolve_model_and_data(name, source)
        else:
            model = load(name)
        check_shapes(model, source, f" for {name}")
        images, labels = probe_batches(source, preprocessing, batch_size=batch_size).batch(0, 0)
        norms += GradientProbe(model, shown, loss=task_of(source).loss(source)).measure(images, labels)
    return norms


def write(path: Path, norms: Iterable[Norm]) -> None:
    """Writes a row for each norm, as comma-separated values."""
    write_csv(path, norms, Norm)


def read(path: Path) -> list[Norm]:
    """Reads the file of `write`."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Norm(row["network"], int(row["step"]), int(row["place"]), row["layer"], float(row["norm"]))
            for row in csv.DictReader(file)
        ]


def by_network(norms: Iterable[Norm]) -> Mapping[str, list[Norm]]:
    """Groups norms by network, and keeps their order."""
    found: dict[str, list[Norm]] = {}
    for norm in norms:
        found.setdefault(norm.network, []).append(norm)
    return found


class _Measured(keras.Model):
    measured_loss: keras.losses.Loss | None = None

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        if self.measured_loss is not None:
            return self.measured_loss(y, y_pred)
        return ops.mean(ops.categorical_crossentropy(y, y_pred, from_logits=True))


class _Norms(keras.optimizers.Optimizer):
    """Keeps the norm of each gradient and does not change the weights."""

    def __init__(self) -> None:
        super().__init__(learning_rate=0.0, name="norms")

    def build(self, variables: Any) -> None:
        if not self.built:
            super().build(variables)
            self.norms = [
                self.add_variable((), dtype="float32", name=f"norm{index}") for index in range(len(variables))
            ]

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        variables = self._trainable_variables if trainable_variables is None else list(trainable_variables)
        # A dropped block has no gradient if nothing is compiled.
        present = [ops.zeros(v.shape) if g is None else g for g, v in zip(grads, variables, strict=True)]
        super().apply(present, variables)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        gradient = ops.cast(gradient, "float32")
        largest = ops.max(ops.abs(gradient))
        # The square of a vanished gradient underflows float32, and that of an exploded one overflows.
        scale = ops.where(ops.isfinite(largest) & (largest > 0), largest, 1.0)
        norm = scale * ops.sqrt(ops.sum(ops.square(gradient / scale)))
        self.assign(self.norms[self._get_variable_index(variable)], norm)
