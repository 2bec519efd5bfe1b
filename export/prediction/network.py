"""What a prediction needs to know about a network, and the network of an artifact."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..errors import ExportError
from ..images import ImageReader
from ..predictor import Predictor, check_outputs
from ..runtime.providers import Device
from ..storage.manifest import gates_output, is_batchable
from ..storage.schema import check_task
from ..tables import Columns

if TYPE_CHECKING:
    from onnxruntime import SessionOptions

TASKS = ("classification", "regression", "segmentation")


class Network(Protocol):
    """A trained network with one input and one output.

    Attributes:
        key: Text that differs for other weights, preprocessing or devices.
        task: One of `TASKS`.
        names: Of the classes or the numbers that it predicts.
        are_probabilities: Whether its outputs for classes are probabilities.
        input_name: The name of its input.
        shape: The shape of one input; None where any size fits.
        dtype: The type of an input.
        reader: How image files become inputs; None if inputs are not images.
        columns: How rows of a table become inputs; None if inputs are not such rows.
        channel_axis: The axis of the channels in an input and of the classes in an output, without the batch.
        batchable: Whether the answer to an input is the same in every batch.
    """

    key: str
    task: str
    names: Sequence[str]
    are_probabilities: bool
    input_name: str
    shape: tuple[int | None, ...]
    dtype: str
    reader: ImageReader | None
    columns: Columns | None
    channel_axis: int
    batchable: bool

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Computes the outputs of a batch."""
        ...


class ArtifactNetwork:
    """The network of an artifact; see `Network`.

    Args:
        path: The artifact's folder.
        device: The device, as in `load`.
        threads: How many threads onnxruntime computes with; None takes its default.

    Raises:
        ValueError: If the artifact has several inputs or outputs, or predicts neither classes, numbers nor masks.
    """

    def __init__(self, path: str | Path, device: Device = "cpu", threads: int | None = None) -> None:
        self._path, self.device = path, device
        self._predictor = Predictor(path, device, _limit_threads(threads))
        if device != "cpu":
            self._predictor.prove()
        about = self._predictor.metadata
        gates = gates_output(about)
        outputs = [output for output in about["outputs"] if output["name"] != gates]
        if len(about["inputs"]) > 1 or len(outputs) > 1:
            names = [tensor["name"] for tensor in (*about["inputs"], *outputs)]
            raise ValueError(f"Expected an artifact with one input and one output. Received: {', '.join(names)}")
        (taken,), (given,) = about["inputs"], outputs
        self.key = f"{about['sha256']} {device}"
        self.input_name, self.dtype = taken["name"], taken["dtype"]
        self.shape: tuple[int | None, ...] = tuple(taken["shape"][1:])
        self.channel_axis = 0 if about.get("layout") == "nchw" else -1
        self.batchable = is_batchable(about)
        self.reader = resolve_reader(about.get("image"), self.shape, self.dtype, self.channel_axis)
        self.columns = Columns.from_dict(about["table"]) if about.get("table") else None
        self.are_probabilities = about["activation"] is not None
        check_task(about.get("task"), given["name"], given["shape"])
        self.task: str = about.get("task") or infer_task(about, given)
        self.names: Sequence[str] = list_names(about, given, self.task, self.channel_axis)
        self._output = given["name"]

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process opens the artifact again; it gets one thread, since other processes use the other cores."""
        return _open_with_one_thread, (Path(self._path).absolute(), self.device)

    def run(self, batch: np.ndarray) -> np.ndarray:
        outputs = self._predictor.run({self.input_name: batch})
        return check_outputs(outputs, len(batch))[self._output]


def _open_with_one_thread(path: Path, device: Device) -> ArtifactNetwork:
    return ArtifactNetwork(path, device, threads=1)


def _limit_threads(threads: int | None) -> "SessionOptions | None":
    if threads is None:
        return None
    from onnxruntime import SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = threads
    return options


def resolve_reader(
    recorded: Mapping[str, Any] | None, shape: tuple[int | None, ...], dtype: str, channel_axis: int
) -> ImageReader | None:
    """Makes the image reader that is recorded, or else one that stretches images to the shape of an input.

    Returns:
        The reader; None if inputs are not 8-bit images in grey or RGB.
    """
    if recorded is not None:
        return ImageReader.from_dict(recorded)
    if len(shape) != 3 or dtype != "uint8" or shape[channel_axis] not in (1, 3):
        return None
    height, width = (size for axis, size in enumerate(shape) if axis != channel_axis % 3)
    size = None if height is None or width is None else (height, width)
    return ImageReader(size, channels=shape[channel_axis], resize="stretch")


def infer_task(about: Mapping[str, Any], output: Mapping[str, Any]) -> str:
    """Infers the task of an artifact that records none from its output's rank, its labels and its activation."""
    rank = len(output["shape"])
    if rank == 2:
        return "classification" if about["labels"] or about["activation"] else "regression"
    if rank == 4 and (about["labels"] or about["activation"]):
        return "segmentation"
    raise ExportError(
        "Expected an artifact that predicts classes, numbers or masks. "
        f"Received: output {output['name']} of shape {output['shape']}"
    )


def list_names(about: Mapping[str, Any], output: Mapping[str, Any], task: str, channel_axis: int) -> list[str]:
    """Names the classes or the numbers of an artifact's output."""
    if named := about.get("target_names") or about["labels"]:
        return list(named)
    count = output["shape"][1:][channel_axis] or 1
    if task != "regression":
        return [str(index) for index in range(count)]
    return [output["name"]] if count == 1 else [f"{output['name']}{index}" for index in range(1, count + 1)]
