"""Predicting with an artifact: onnxruntime and NumPy, nothing else."""

from pathlib import Path
from typing import Any

import numpy as np

from ._inputs import check_raw
from ._manifest import ONNX, read_manifest, sha256
from ._sessions import CPU, CUDA, open_session, runner
from .errors import VerificationError

_PROVIDERS = {"cpu": CPU, "cuda": CUDA}


class Predictor:
    """An exported network, ready to be called.

    Args:
        path: The artifact's folder.
        device: "cpu" or "cuda".

    Attributes:
        metadata: The contents of artifact.json.
        labels: A name for each output, or None.
    """

    def __init__(self, path: str | Path, device: str = "cpu") -> None:
        folder = Path(path)
        self.metadata: dict[str, Any] = read_manifest(folder)
        if device not in _PROVIDERS:
            raise ValueError(f'Expected device to be "cpu" or "cuda". Received: device={device!r}')
        file = folder / ONNX
        if not file.is_file() or sha256(file) != self.metadata["files"][ONNX]:
            raise VerificationError(f"Expected {file} as it was exported. Received: a missing or changed file")
        self.labels: list[str] | None = self.metadata["labels"]
        (declared,) = self.metadata["inputs"]
        self._shape, self._dtype = tuple(declared["shape"]), declared["dtype"]
        self._run = runner(open_session(file, provider=_PROVIDERS[device]))

    def __call__(self, x: Any) -> np.ndarray:
        """Computes the outputs of one batch of raw inputs."""
        x = np.asarray(x)
        check_raw(x, self._shape, self._dtype)
        return self._run(x)

    def predict(self, x: Any, batch_size: int = 32) -> np.ndarray:
        """Computes the outputs of any number of raw inputs, a batch at a time.

        Args:
            x: Raw inputs of the artifact's shape and type.
            batch_size: How many to compute at once.

        Returns:
            The outputs, probabilities where the artifact has an activation.

        Raises:
            ValueError: If shape or type are not the artifact's.
        """
        if batch_size < 1:
            raise ValueError(f"Expected batch_size to be at least 1. Received: batch_size={batch_size}")
        x = np.asarray(x)
        check_raw(x, self._shape, self._dtype)
        return np.concatenate([self._run(x[i : i + batch_size]) for i in range(0, len(x), batch_size)])

    def classify(self, x: Any, batch_size: int = 32) -> list[tuple[str, float]]:
        """Names the most probable class of each input.

        Args:
            x: Raw inputs of the artifact's shape and type.
            batch_size: How many to compute at once.

        Returns:
            A label and its probability for each input; without labels the class's number stands for it.

        Raises:
            ValueError: If the artifact does not give the probabilities of classes, or the input is not usable.
        """
        if self.metadata["activation"] != "softmax" or len(self.metadata["outputs"][0]["shape"]) != 2:
            raise ValueError(
                "Expected an artifact with one softmax per input. "
                f"Received: activation={self.metadata['activation']!r}, outputs {self.metadata['outputs']}"
            )
        probabilities = self.predict(x, batch_size)
        best = np.argmax(probabilities, axis=-1)
        labels = self.labels or [str(i) for i in range(probabilities.shape[-1])]
        return [(labels[i], float(p[i])) for i, p in zip(best, probabilities, strict=True)]


def load(artifact: str | Path, *, device: str = "cpu") -> Predictor:
    """Loads an artifact for prediction, with onnxruntime alone.

    Args:
        artifact: The folder.
        device: "cpu" or "cuda".

    Returns:
        A predictor.

    Raises:
        FileNotFoundError: If there is no artifact.
        VerificationError: If its manifest or its ONNX file is not what was exported.
        RuntimeError: If the device is not there.

    Example:
        >>> load("classifier").classify(images)
        [('cat', 0.93), ('dog', 0.88)]
    """
    return Predictor(artifact, device)
