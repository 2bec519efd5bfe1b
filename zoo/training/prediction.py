"""The network of a run, with what `export.predict_files` needs to know of it: the class `RunNetwork`."""

import hashlib

import keras
import numpy as np

from export.tables import Columns

from ..data.batches import to_data_format
from ..data.recorded import recorded_reader
from ..data.source import Preprocessing
from ..tasks import task_of
from ..weights.loading import load
from .runs import Run


class RunNetwork:
    """A trained network as it computes in Keras, from raw inputs to probabilities or numbers.

    It takes what the run's export takes. If the run does not say how it read images, they are stretched to the size of
    the network.

    Args:
        run: A complete run.
    """

    channel_axis = -1
    batchable = True

    def __init__(self, run: Run) -> None:
        source = run.source
        network = load(run.path)
        task = task_of(source)
        self.task, self.are_probabilities = task.name, task.activation == "softmax"
        self._preprocessing = Preprocessing.from_dict(source["preprocessing"])
        self._model = self._add_softmax(network) if self.are_probabilities else network
        self.names = tuple(source["target_names"] if self.task == "regression" else source["class_names"])
        self.input_name, self.shape = network.inputs[0].name, self._shape_of(network)
        self.columns = Columns.from_dict(source["table"]) if source.get("table") else None
        self.reader = recorded_reader(source, self.shape)
        self.dtype: str = source.get("dtype", "uint8")
        file = hashlib.sha256(run.model_path.read_bytes()).hexdigest()
        self.key = f"{file} {keras.backend.backend()} {source['preprocessing']}"

    def run(self, batch: np.ndarray) -> np.ndarray:
        outputs = np.asarray(self._model.predict_on_batch(to_data_format(self._preprocessing(batch))))
        return np.moveaxis(outputs, 1, -1) if outputs.ndim > 2 and _channels_first() else outputs

    @staticmethod
    def _add_softmax(network: keras.Model) -> keras.Model:
        output = network.outputs[0]
        axis = 1 if output.ndim > 2 and _channels_first() else -1
        return keras.Model(network.inputs, keras.layers.Softmax(axis, dtype="float32")(output))

    @staticmethod
    def _shape_of(network: keras.Model) -> tuple[int | None, ...]:
        """The shape of an input, with its channels last."""
        shape = tuple(network.input_shape[1:])
        return (*shape[1:], shape[0]) if len(shape) > 1 and _channels_first() else shape


def _channels_first() -> bool:
    return keras.config.image_data_format() == "channels_first"
