"""A Keras model as a TensorFlow SavedModel: one endpoint, `serve`, from `input` to `output`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ._publish import published
from ._served import OUTPUT, Served, served
from .preprocessing import Preprocessing


def to_saved_model(
    model: Any,
    path: str | Path,
    *,
    preprocessing: Preprocessing | dict[str, Any] | None = None,
    activation: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Writes the model, for inference, as a SavedModel.

    A model under a half-precision policy is written in float32, with the same weights.

    Args:
        model: A built Keras model with one input and one output.
        path: The folder to make.
        preprocessing: Put before the model; None leaves its input as it is.
        activation: Put after the model: "softmax", "sigmoid" or None.
        overwrite: Whether a SavedModel already there may be replaced.

    Returns:
        The folder.

    Raises:
        FileExistsError: If something is there already.
        ExportError: If the model cannot be exported.

    Example:
        >>> to_saved_model(model, "classifier")
        >>> tf.saved_model.load("classifier").serve(images)["output"]
    """
    function = served(model, preprocessing, activation)
    with published(path, overwrite, lambda target: (target / "saved_model.pb").is_file()) as building:
        write_saved_model(function, building)
    return Path(path)


def write_saved_model(function: Served, path: Path) -> None:
    """Writes a served function to a path where nothing is."""
    from keras.export import ExportArchive

    archive = ExportArchive()
    archive.track(function.model)
    archive.add_endpoint(name="serve", fn=function.__call__, input_signature=[function.signature()])
    archive.write_out(str(path), verbose=False)


def saved_model_runner(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Loads a SavedModel written here, as a callable from array to array."""
    import tensorflow as tf

    # On a GPU TensorFlow may use TF32, which is coarser than what is to be proven.
    with tf.device("/CPU:0"):
        loaded = tf.saved_model.load(str(path))

    def run(x: np.ndarray) -> np.ndarray:
        with tf.device("/CPU:0"):
            return loaded.serve(tf.constant(x))[OUTPUT].numpy()

    return run
