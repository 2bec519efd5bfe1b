"""Serves a model: onnxruntime runs an artifact in batches, once it reproduces the outputs recorded at export."""

import asyncio
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ExportError
from ..model.inputs import check_inputs, count_examples
from ..predictor import Predictor
from ..proof.devices import prove_on_device
from ..proof.recording import read_recorded
from ..runtime.providers import Device
from ..runtime.sessions import memory_saving_options
from ..storage.arrays import Batch
from ..storage.manifest import check_files, is_batchable, why_not_batchable
from .batching import Batcher
from .classification import Classifier
from .errors import RequestError
from .limits import Limits
from .observation import SERVER, Metrics
from .protocol.datatypes import DATATYPES
from .protocol.v2 import InferRequest, describe_tensors, is_finite
from .rows import RowReader

if TYPE_CHECKING:
    from onnxruntime import SessionOptions

VERSION = "1"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# A run may always have this many input elements, which are about seven images of 224 x 224.
_ELEMENTS = 2**20


class Model:
    """A model that is served.

    Args:
        path: The artifact's folder.
        name: The name for clients; the artifact's name by default.
        device: The device, as in `load`.
        limits: The limits of the server.
        metrics: The metrics that count runs.
        threads: The threads of onnxruntime; 0 takes one for each core.

    Attributes:
        name: The name for clients.
        artifact: The contents of artifact.json.
        samples: Recorded inputs by the name of their batch.
        classifier: Turns image files into inputs, and outputs into classes.
        rows: Turns rows of a table into inputs, and outputs into classes or numbers.
        ready: Whether it has reproduced here the outputs recorded at export.

    Raises:
        FileNotFoundError: If there is no artifact.
        VerificationError: If the artifact was changed since its export.
        DeviceError: If the device is not there.
        ValueError: If its name or its types cannot be served.
    """

    def __init__(
        self, path: Path, name: str | None, device: Device, limits: Limits, metrics: Metrics, threads: int = 0
    ) -> None:
        predictor = Predictor(path, device, _session_options(threads))
        self.artifact: dict[str, Any] = predictor.metadata
        check_files(path, self.artifact)
        self.name: str = self.artifact["name"] if name is None else name
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"Expected a name of letters, digits, '.', '_' and '-', or NAME=ARTIFACT. Received: {self.name!r}"
            )
        for tensor in (*self.artifact["inputs"], *self.artifact["outputs"]):
            if tensor["dtype"] not in DATATYPES:
                raise ValueError(f"Expected types of the protocol. Received: {tensor['dtype']} in {self.name}")
        self.classifier = Classifier(self.artifact, self.name, limits.max_body, limits.queue)
        self.rows = RowReader(self.artifact, self.name)
        self._recorded = read_recorded(path, self.artifact)
        self.samples = self._recorded[0]
        self.ready = False
        self._predictor, self._limits, self._batchable = predictor, limits, is_batchable(self.artifact)
        self._device = device
        # An example of dynamic size may be large, so a run has at most the elements of a full batch of recorded ones.
        recorded = (sum(x.size for x in batch.values()) // count_examples(batch) for batch in self.samples.values())
        self._max_elements = max(_ELEMENTS, limits.max_batch_size * max(recorded))
        self._large = memory_saving_options() if device == "cpu" else None
        self._inputs = {raw.name: raw for raw in predictor.inputs}
        self._outputs = [tensor["name"] for tensor in self.artifact["outputs"]]
        self._batcher = Batcher(
            self._run,
            max_batch_size=limits.max_batch_size,
            max_elements=self._max_elements,
            max_delay=limits.max_delay,
            queue=limits.queue,
            batchable=self._batchable,
            observe=metrics.run_observer(self.name),
        )
        metrics.watch_queue(self.name, lambda: self._batcher.waiting)

    def _run(self, batch: Batch) -> Batch:
        size = sum(x.size for x in batch.values())
        return self._predictor.run(batch, self._large if size > self._max_elements else None)

    @property
    def full(self) -> bool:
        """Whether the queue is full."""
        return self._batcher.full

    @property
    def takes(self) -> str:
        """What clients send to which route, in error messages."""
        if self.classifier.offered:
            return "image files at /classify"
        return "rows at /predict" if self.rows.offered else "arrays at /infer"

    @property
    def metadata(self) -> dict[str, Any]:
        """The metadata of the model, as the protocol defines it."""
        return {
            "name": self.name,
            "versions": [VERSION],
            "platform": "onnxruntime_onnx",
            "inputs": describe_tensors(self.artifact["inputs"]),
            "outputs": describe_tensors(self.artifact["outputs"]),
            **({"parameters": {"columns": self.rows.columns}} if self.rows.offered else {}),
        }

    def warm_up(self) -> None:
        """Gets ready: compares outputs with those recorded at export.

        If none are recorded, they are compared with the CPU's; on the CPU the model only runs.

        Raises:
            ParityError: If they differ.
            ExportError: If onnxruntime fails.
        """
        if self._recorded[1] or self._device != "cpu":
            served, on_cpu = f"{self.name}, served here", self._predictor.open_on_cpu
            prove_on_device(self._predictor.run, self._recorded, self._device, served, on_cpu)
        else:
            SERVER.info("%s: no answers of Keras are recorded, so only whether the model runs is tested.", self.name)
            for batch in self.samples.values():
                self._predictor.run(batch)
        if reason := why_not_batchable(self.artifact):
            SERVER.info("%s", reason)
        self.ready = True

    def check_tensor(self, name: str, shape: Sequence[int], datatype: str) -> None:
        """Raises a RequestError unless an announced tensor fits, before its data is read."""
        raw = self._inputs.get(name)
        if raw is None:
            raise RequestError(f"Expected the inputs {', '.join(self._inputs)}. Received: {name[:80]}")
        if datatype != DATATYPES[raw.dtype]:
            raise RequestError(f"Expected {name} of datatype {DATATYPES[raw.dtype]}. Received: {datatype}")
        if len(shape) != len(raw.shape) or any(n not in (None, size) for n, size in zip(raw.shape, shape, strict=True)):
            wanted = [-1 if n is None else n for n in raw.shape]
            raise RequestError(f"Expected {name} of shape {wanted}. Received: {list(shape)}")
        if not all(shape) or shape[0] > self._limits.max_batch_size:
            raise RequestError(
                f"Expected 1 to {self._limits.max_batch_size} examples of {name}, none of them empty. "
                f"Received: shape {list(shape)}"
            )
        if not self._batchable and shape[0] > 1 and math.prod(shape) > self._max_elements:
            raise RequestError(
                f"Expected at most {self._max_elements} elements of {name}, since {self.name} computes a request as a "
                f"whole. Received: shape {list(shape)}"
            )

    def check(self, request: InferRequest) -> None:
        """Raises a RequestError unless the model can answer a request."""
        try:
            check_inputs(request.inputs, list(self._inputs.values()))
        except ValueError as error:
            raise RequestError(str(error)) from error
        for name, x in request.inputs.items():
            if not is_finite(x):
                raise RequestError(f"Expected finite numbers in {name}. Received: NaN or infinity")
        unknown = [name for name in request.outputs if name not in self._outputs]
        if unknown:
            raise RequestError(f"Expected the outputs {', '.join(self._outputs)}. Received: {unknown[0][:80]}")

    async def infer(self, request: InferRequest) -> Batch:
        """Computes the outputs of a checked request.

        Raises:
            QueueFull: If too many others wait.
            RequestError: If onnxruntime fails on these inputs, but not on the recorded ones.
            ExportError: If it fails on the recorded ones too; then the model is no longer ready.
        """
        try:
            return await self._batcher.submit(request.inputs)
        except ExportError as error:
            await self._check_health()
            raise RequestError(
                f"Expected input that {self.name} can compute. Received: {_describe_inputs(request)}"
            ) from error

    async def infer_rows(self, batch: Batch) -> Batch:
        """Computes the outputs of checked rows, which must not depend on each other: one by one if the model's do."""
        count = count_examples(batch)
        parts = [batch] if self._batchable else [{k: x[i : i + 1] for k, x in batch.items()} for i in range(count)]
        outputs = [await self.infer(InferRequest(None, part, {}, binary=False)) for part in parts]
        return {name: np.concatenate([y[name] for y in outputs]) for name in outputs[0]}

    async def _check_health(self) -> None:
        try:
            await self._batcher.submit(min(self.samples.values(), key=count_examples))
        except ExportError:
            self.ready = False
            raise

    async def close(self) -> None:
        """Stops. Nothing may be waiting."""
        await self._batcher.close()


def _session_options(threads: int) -> "SessionOptions":
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that spin while they wait take the cores from threads that bring the next run.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _describe_inputs(request: InferRequest) -> str:
    return ", ".join(f"{name} of shape {list(x.shape)}" for name, x in request.inputs.items())


def split_name(artifact: str | Path) -> tuple[Path, str | None]:
    """Splits ARTIFACT or NAME=ARTIFACT into the folder and the name."""
    name, separator, path = str(artifact).partition("=")
    if separator and not Path(artifact).exists():
        return Path(path), name
    return Path(artifact), None


def load_models(
    artifacts: Sequence[str | Path | tuple[Path, str | None]],
    device: Device,
    limits: Limits,
    metrics: Metrics,
    threads: int = 0,
) -> dict[str, Model]:
    """Loads artifacts as models, by name.

    Args:
        artifacts: ARTIFACT or NAME=ARTIFACT, or a folder and a name.
        device: The device, as in `load`.
        limits: The limits of the server.
        metrics: The metrics that count runs.
        threads: The threads of onnxruntime; 0 takes one for each core.

    Raises:
        ValueError: If there are no artifacts, or two have the same name; see also `Model`.
    """
    if not artifacts:
        raise ValueError("Expected at least one artifact. Received: none")
    given = [each if isinstance(each, tuple) else split_name(each) for each in artifacts]
    models = [Model(path, name, device, limits, metrics, threads) for path, name in given]
    names = [model.name for model in models]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"Expected models of different names; NAME=ARTIFACT gives one. Received: {name} twice")
    return dict(zip(names, models, strict=True))


async def warm_up(models: Sequence[Model]) -> None:
    """Warms up every model, one after the other, in a thread."""
    for model in models:
        await asyncio.to_thread(model.warm_up)
