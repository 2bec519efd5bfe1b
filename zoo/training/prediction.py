"""The network of a run, with what `export.predict_files` needs to know of it: the class `RunNetwork`."""

import hashlib
from typing import Any

import keras
import numpy as np

from export.images import ImageReader
from export.tables import Columns

from ..data.batches import to_data_format
from ..data.source import Preprocessing
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
        self.task: str = source.get("task", "classification")
        self.are_probabilities = self.task != "regression"
        self._preprocessing = Preprocessing.from_dict(source["preprocessing"])
        self._model = self._add_softmax(network) if self.are_probabilities else network
        self.names = tuple(source["target_names"] if self.task == "regression" else source["class_names"])
        self.input_name, self.shape = network.inputs[0].name, self._shape_of(network)
        self.columns = Columns.from_dict(source["table"]) if source.get("table") else None
        self.reader = self._make_reader(source)
        self.dtype = "uint8" if self.reader else "float32"
        file = hashlib.sha256(run.model_path.read_bytes()).hexdigest()
        self.key = f"{file} {keras.backend.backend()} {source['preprocessing']}"

    def run(self, batch: np.ndarray) -> np.ndarray:
        inputs = self._preprocessing(batch)
        return np.asarray(self._model.predict_on_batch(to_data_format(inputs) if inputs.ndim == 4 else inputs))

    @staticmethod
    def _add_softmax(network: keras.Model) -> keras.Model:
        probabilities = keras.layers.Softmax(dtype="float32")(network.outputs[0])
        return keras.Model(network.inputs, probabilities)

    @staticmethod
    def _shape_of(network: keras.Model) -> tuple[int | None, ...]:
        """The shape of an input, with its channels last."""
        shape = tuple(network.input_shape[1:])
        first = len(shape) == 3 and keras.config.image_data_format() == "channels_first"
        return (*shape[1:], shape[0]) if first else shape

    def _make_reader(self, source: dict[str, Any]) -> ImageReader | None:
        if source.get("image"):
            return ImageReader.from_dict(source["image"])
        if len(self.shape) != 3 or self.shape[-1] not in (1, 3):
            return None
        height, width, channels = self.shape
        size = None if height is None or width is None else (height, width)
        return ImageReader(size, channels=channels, resize="stretch")
