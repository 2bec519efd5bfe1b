"""A trained network with what `export.predict_files` needs to know about it: the class `KerasNetwork`."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from export.images import ImageReader
from export.tables import Columns

from ..data.batches import to_data_format
from ..data.recorded import recorded_reader
from ..data.source import Preprocessing
from ..tasks import task_of
from ..weights.info import load_as_described, weights_info
from ..weights.loading import load
from .runs import Run, run_of_weights


class KerasNetwork:
    """A trained network as it computes in Keras, from raw inputs to probabilities or numbers.

    Args:
        network: From preprocessed inputs to logits or numbers.
        task: The name of its task.
        names: The names of its outputs.
        preprocessing: Turns raw inputs into those of the network.
        reader: Reads image files as raw inputs; None if they are not images of pixels from 0 to 255.
        columns: Says how rows of a table become raw inputs.
        dtype: The type of raw inputs.
    """

    channel_axis = -1
    batchable = True

    def __init__(
        self,
        network: keras.Model,
        task: str,
        names: Sequence[str],
        preprocessing: Preprocessing,
        reader: ImageReader | None,
        columns: Columns | None = None,
        dtype: str = "uint8",
    ) -> None:
        self.task, self.are_probabilities = task, task_of(task).activation == "softmax"
        self.input_name, self.shape = network.inputs[0].name, _shape_of(network)
        self.names = tuple(names) or tuple(map(str, range(network.output_shape[-1])))
        self.reader, self.columns, self.dtype = reader, columns, dtype
        self._preprocessing = preprocessing
        self._model = _add_softmax(network) if self.are_probabilities else network
        digest = hashlib.sha256()
        for variable in network.variables:
            digest.update(np.ascontiguousarray(variable).tobytes())
        self.key = f"{digest.hexdigest()} {keras.backend.backend()} {preprocessing}"

    def run(self, batch: np.ndarray) -> np.ndarray:
        outputs = np.asarray(self._model.predict_on_batch(to_data_format(self._preprocessing(batch))))
        return np.moveaxis(outputs, 1, -1) if outputs.ndim > 2 and _channels_first() else outputs


def network_of_run(run: Run) -> KerasNetwork:
    """The network of a complete run, which takes what the run's export takes.

    If the run does not say how it read images, they are stretched to the size of the network.
    """
    source, network = run.source, load(run.path)
    task = task_of(source)
    return KerasNetwork(
        network,
        task.name,
        source["target_names"] if task.name == "regression" else source["class_names"],
        Preprocessing.from_dict(source["preprocessing"]),
        recorded_reader(source, _shape_of(network)),
        Columns.from_dict(source["table"]) if source.get("table") else None,
        source.get("dtype", "uint8"),
    )


def network_of_weights(name: str, weights: str | Path) -> KerasNetwork:
    """A network by name, with weights for a classification of images, or of a run; see `weights_info`.

    Raises:
        ValueError: If the weights are unknown, or of another network.
    """
    if (run := run_of_weights(name, weights)) is not None:
        return network_of_run(run)
    about = weights_info(name, weights)
    network = load_as_described(about)
    return KerasNetwork(network, "classification", about.class_names, about.preprocessing, about.image)


def _add_softmax(network: keras.Model) -> keras.Model:
    output = network.outputs[0]
    axis = 1 if output.ndim > 2 and _channels_first() else -1
    return keras.Model(network.inputs, keras.layers.Softmax(axis, dtype="float32")(output))


def _shape_of(network: keras.Model) -> tuple[int | None, ...]:
    """The shape of an input, with its channels last."""
    shape = tuple(network.input_shape[1:])
    return (*shape[1:], shape[0]) if len(shape) > 1 and _channels_first() else shape


def _channels_first() -> bool:
    return keras.config.image_data_format() == "channels_first"
