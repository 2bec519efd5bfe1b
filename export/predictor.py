"""Predicts with an artifact. This needs only onnxruntime and NumPy, and Pillow for image files."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .errors import ExportError, VerificationError
from .images import ImageLike
from .model.inputs import RawInput, check_inputs, count_examples, fit_types, split_batch
from .model.reading import ImageInput
from .proof.devices import prove_on_device
from .proof.parity import Parity
from .proof.recording import read_recorded
from .runtime.providers import Device, check_device
from .runtime.sessions import open_session, run_session, session_tensors
from .storage.agreement import check_tensors
from .storage.arrays import Batch
from .storage.manifest import (
    ONNX,
    check_file,
    check_files,
    gates_output,
    is_batchable,
    read_manifest,
    why_not_batchable,
)
from .storage.safety import check_onnx_file
from .tables import Columns

if TYPE_CHECKING:
    from onnxruntime import RunOptions, SessionOptions

# The one output, or the outputs by name.
Arrays = np.ndarray | Batch
_AT_ONCE = 32


class Predictor:
    """An exported network that can be called.

    Args:
        path: The artifact's folder.
        device: The device, as in `load`. Only `prove` compares its answers.
        options: onnxruntime's SessionOptions; None takes the defaults.
        target: As in `load`.

    Attributes:
        metadata: The contents of artifact.json.
        labels: A name for each class, or None.
        inputs: The inputs of the graph.
    """

    def __init__(
        self,
        path: str | Path,
        device: Device = "cpu",
        options: "SessionOptions | None" = None,
        target: str | None = None,
    ) -> None:
        folder = Path(path)
        self.metadata: dict[str, Any] = read_manifest(folder)
        check_device(device)
        self._folder, self._device = folder, device
        self.labels: list[str] | None = self.metadata["labels"]
        self.inputs = [RawInput.from_manifest(declared, None) for declared in self.metadata["inputs"]]
        self._image = ImageInput.from_manifest(self.metadata)
        self._outputs = [declared["name"] for declared in self.metadata["outputs"]]
        self._target = None
        if target is not None:
            from .targets.opening import open_target

            self._target = open_target(folder, self.metadata, target)
            return
        file = folder / ONNX
        if "onnx" not in self.metadata["formats"]:
            raise VerificationError(f"Expected an artifact with an ONNX file. Received: {folder}, exported without one")
        check_file(folder, self.metadata, ONNX)
        for weights in check_onnx_file(file):
            check_file(folder, self.metadata, weights.name)
        self._session = open_session(file, device=device, options=options)
        check_tensors(self.metadata, session_tensors(self._session), file)

    def __repr__(self) -> str:
        precision = self.metadata.get("precision", {}).get("exported")
        inputs = [raw.name for raw in self.inputs]
        return (
            f"Predictor({str(self._folder)!r}, device={self._device!r}, precision={precision!r}, {inputs=}, "
            f"outputs={self._outputs})"
        )

    def prove(self) -> Parity:
        """Compares the answers of the device with those recorded at export, or with the CPU's if none are recorded.

        Returns:
            The figures of the comparison.

        Raises:
            ParityError: If the device computes something else.
            VerificationError: If a file of the artifact was changed since the export.
        """
        check_files(self._folder, self.metadata)
        recorded = read_recorded(self._folder, self.metadata)
        return prove_on_device(self.run, recorded, self._device, f"onnxruntime on {self._device}", self.open_on_cpu)

    def open_on_cpu(self) -> Callable[[Batch], Batch]:
        """Opens the network on the CPU, to compare with."""
        return Predictor(self._folder).run

    def __call__(self, x: ArrayLike | Mapping[str, ArrayLike]) -> Arrays:
        """Computes the outputs of one batch of raw inputs: an array, or arrays by name if there are several outputs."""
        return self._unwrap(self.run(self._to_batch(x)))

    def predict(self, x: ArrayLike | Mapping[str, ArrayLike], batch_size: int | None = None) -> Arrays:
        """Computes the outputs of any number of raw inputs, a batch at a time.

        Args:
            x: Raw inputs of the artifact's shape and type, by name if there are several.
            batch_size: How many examples to compute at once. The default is 32, or all of them unless the export has
                proven that examples are independent.

        Returns:
            The outputs, by name if there are several; probabilities if the artifact has an activation.

        Raises:
            ValueError: If names, shapes or types differ from the artifact's, or the batch may not be split.
            ExportError: If onnxruntime fails, or does not give an answer for each example.
        """
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"Expected batch_size to be at least 1. Received: batch_size={batch_size}")
        batch = self._to_batch(x)
        count = count_examples(batch)
        if not is_batchable(self.metadata):
            if batch_size is not None and batch_size < count:
                raise ValueError(
                    f"Expected batch_size to be None or at least {count}, since {why_not_batchable(self.metadata)} "
                    f"Received: batch_size={batch_size}"
                )
            return self._unwrap(self.run(batch))
        parts = [
            check_outputs(self.run(part), count_examples(part)) for part in split_batch(batch, batch_size or _AT_ONCE)
        ]
        return self._unwrap({name: np.concatenate([part[name] for part in parts]) for name in self._outputs})

    def run(self, batch: Batch, options: "RunOptions | None" = None) -> Batch:
        """Computes the outputs of arrays by name without checking them, with onnxruntime's RunOptions if there are any.

        Raises:
            ExportError: If onnxruntime fails.
        """
        if self._target is not None:
            return self._target(batch)
        return run_session(self._session, batch, options)

    def _to_batch(self, x: ArrayLike | Mapping[str, ArrayLike]) -> Batch:
        if not isinstance(x, Mapping):
            if len(self.inputs) > 1:
                names = ", ".join(raw.name for raw in self.inputs)
                raise ValueError(f"Expected a dict with the inputs {names}. Received: {type(x).__name__}")
            x = {self.inputs[0].name: x}
        batch = fit_types({name: np.asarray(values) for name, values in x.items()}, self.inputs)
        check_inputs(batch, self.inputs)
        return batch

    def _unwrap(self, outputs: Batch) -> Arrays:
        if len(self._outputs) == 1:
            return outputs[self._outputs[0]]
        return {name: outputs[name] for name in self._outputs}

    def read_images(self, images: ImageLike | Sequence[ImageLike]) -> np.ndarray:
        """Reads images of any size as raw input, in the way that the artifact records.

        Args:
            images: A path, the contents of a file, a Pillow image or uint8 pixels (height, width, channels); or a
                list of these, or an array of several images.

        Returns:
            A batch for `predict`.

        Raises:
            ValueError: If the artifact has no such record, or an image cannot be decoded.
            OSError: If a file cannot be read.
            ImportError: If Pillow is not installed.
        """
        if self._image is None:
            raise ValueError(
                "Expected an artifact that records how images are read, as export.export(image=...) makes it. "
                f"Received: {self._folder}, which takes only arrays"
            )
        return self._image.read(images)

    def read_rows(self, rows: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]]) -> np.ndarray:
        """Encodes rows of a table as raw input, in the way that the artifact records.

        Args:
            rows: A list of dictionaries, each with the values of a row by column; or the values of each column by its
                name, as a dictionary or a DataFrame has them. None is a missing value. The order of the columns does
                not matter, and others are ignored.

        Returns:
            A batch for `predict`: float32, (rows, columns).

        Raises:
            ValueError: If the artifact has no such record, a column is missing, or a value is not of its kind.
        """
        if not self.metadata.get("table"):
            raise ValueError(
                "Expected an artifact that records how rows are read, as export.export(table=...) makes it. "
                f"Received: {self._folder}, which takes only arrays"
            )
        columns = Columns.from_dict(self.metadata["table"])
        if isinstance(rows, Sequence):
            return columns.encode_rows(rows)
        table = {name: rows[name] for name in columns.names if name in rows}
        if single := [name for name, values in table.items() if np.ndim(values) != 1]:
            raise ValueError(
                "Expected a list of rows, or a list of values for each column. "
                f"Received: {table[single[0]]!r} for {single[0]}"
            )
        return columns.encode({name: list(values) for name, values in table.items()})

    def classify(
        self,
        x: "ArrayLike | Mapping[str, ArrayLike] | ImageLike | Sequence[ImageLike]",
        batch_size: int | None = None,
        top: int | None = None,
    ) -> list[Any]:
        """Names the most probable class, or classes, of each input.

        Args:
            x: Raw inputs of the artifact's shape and type, which are taken as they are; or images of any size, as in
                `read_images`.
            batch_size: As in `predict`.
            top: How many classes to name. None names one.

        Returns:
            A label and its probability for each input, or with `top` a list of these, the most probable first. The
            number of the class is its label if there are none.

        Raises:
            ValueError: If the artifact does not give the probabilities of classes, or the input does not fit.
            OSError, ImportError: As in `read_images`.
        """
        gates = gates_output(self.metadata)
        declared = [output for output in self.metadata["outputs"] if output["name"] != gates]
        if self.metadata["activation"] != "softmax" or len(declared) != 1 or len(declared[0]["shape"]) != 2:
            raise ValueError(
                "Expected an artifact with one softmax per input. "
                f"Received: activation={self.metadata['activation']!r}, outputs {declared}"
            )
        if top is not None and top < 1:
            raise ValueError(f"Expected top to be at least 1. Received: top={top}")
        predicted = self.predict(self._to_raw(x), batch_size)
        probabilities = predicted[declared[0]["name"]] if isinstance(predicted, dict) else predicted
        labels = self.labels or [str(i) for i in range(probabilities.shape[-1])]
        order = rank_classes(probabilities, top or 1)
        named = [[(labels[i], float(p[i])) for i in best] for best, p in zip(order, probabilities, strict=True)]
        return named if top else [best for (best,) in named]

    def _to_raw(self, x: Any) -> Any:
        """Returns raw inputs as they are, and reads images."""
        first = next(iter(x), None) if isinstance(x, (list, tuple)) else x
        if self._image is None:
            return self.read_images(x) if isinstance(first, (str, bytes, os.PathLike)) else x
        if isinstance(x, np.ndarray):
            is_raw = x.dtype != np.uint8 or _has_shape(x, self.inputs[0].shape)
        else:
            is_raw = isinstance(x, Mapping) or isinstance(first, (int, float, list, tuple))
        return x if is_raw else self.read_images(x)


def _has_shape(x: np.ndarray, shape: Sequence[int | None]) -> bool:
    """Whether an array is a batch of examples of a shape, in which None is any size."""
    return x.ndim == len(shape) and all(n in (None, size) for n, size in zip(shape, x.shape, strict=True))


def rank_classes(scores: np.ndarray, top: int) -> np.ndarray:
    """The indices of the largest scores along the last axis, the largest first; of equal ones the first, NaN last."""
    # Unsigned numbers and booleans have no negatives.
    return np.argsort(-scores.astype("float64"), axis=-1, kind="stable")[..., :top]


def check_outputs(outputs: Batch, count: int) -> Batch:
    """Returns outputs if there is an answer for each example.

    Raises:
        ExportError: If there are more or fewer.
    """
    for name, y in outputs.items():
        if y.ndim == 0 or len(y) != count:
            raise ExportError(f"Expected {count} answers in {name}, one for each example. Received: shape {y.shape}")
    return outputs


def load(artifact: str | Path, *, device: Device = "cpu", target: str | None = None) -> Predictor:
    """Loads an artifact for prediction with onnxruntime, or with the runtime of a target.

    Every export is proven on the CPU. Any other device first runs on the inputs recorded at export, and its answers
    must agree with Keras's. No device falls back to the CPU silently.

    Args:
        artifact: The folder.
        device: "cpu"; "cuda"; "cuda-tf32", which is faster and coarser; "tensorrt", which computes in TF32 too;
            "openvino", which computes on the CPU; "coreml", in fp16; or "directml". The error message names the
            package that a missing device needs.
        target: A target of the artifact: "openvino", "litert" or "ort", which run on the CPU.

    Returns:
        A predictor.

    Raises:
        FileNotFoundError: If there is no artifact.
        VerificationError: If its manifest or its ONNX file was changed since the export.
        DeviceError: If the device is missing, or runs less than half of the operations with weights.
        ParityError: If the answers of the device differ.
        ExportError: If the runtime of the target is not installed.
        ValueError: If the artifact does not have the target.

    Example:
        >>> load("classifier").classify(["cat.jpg", "dog.jpg"])
        [('cat', 0.93), ('dog', 0.88)]
    """
    if target is not None and device != "cpu":
        raise ValueError(f"Expected device='cpu' for a target. Received: device={device!r}, target={target!r}")
    predictor = Predictor(artifact, device, target=target)
    if device != "cpu":
        predictor.prove()
    return predictor
