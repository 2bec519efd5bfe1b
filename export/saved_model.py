"""A Keras model as a TensorFlow SavedModel: one endpoint, `serve`, with the model's inputs and outputs by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ._inputs import Batch
from ._publish import published
from ._served import Served, served
from .preprocessing import Preprocessing


def to_saved_model(
    model: Any,
    path: str | Path,
    *,
    preprocessing: Preprocessing | dict[str, Any] | None = None,
    activation: str | None = None,
    layout: str | None = None,
    samples: Any = None,
    overwrite: bool = False,
) -> Path:
    """Writes the model, for inference, as a SavedModel.

    A model under a half-precision policy is written in float32, with the same weights. Inputs and outputs have the
    model's names; where Keras made a name up, a single one is called "input" or "output".

    Args:
        model: A Keras model.
        path: The folder to make.
        preprocessing: Put before a model with one input; None leaves its input as it is.
        activation: Put after a model with one output, which is then called "probabilities": "softmax", "sigmoid" or
            None.
        layout: Where images have their channels: "nhwc", "nchw" or None, as the model has them.
        samples: An example of what the model takes, if it has never seen an input.
        overwrite: Whether a SavedModel already there may be replaced.

    Returns:
        The folder.

    Raises:
        FileExistsError: If something is there already.
        ExportError: If the model cannot be exported.
        ValueError: If an argument is not usable.

    Example:
        >>> to_saved_model(model, "classifier")
        >>> tf.saved_model.load("classifier").serve(images)["output"]
    """
    function = served(model, preprocessing, activation, layout, samples)
    with published(path, overwrite, lambda target: (target / "saved_model.pb").is_file()) as building:
        write_saved_model(function, building)
    return Path(path)


def write_saved_model(function: Served, path: Path) -> None:
    """Writes a served function to a path where nothing is."""
    from keras.export import ExportArchive

    archive = ExportArchive()
    archive.track(function.model)
    archive.add_endpoint(name="serve", fn=function.__call__, input_signature=function.tensor_specs())
    archive.write_out(str(path), verbose=False)


def saved_model_runner(path: Path) -> Callable[[Batch], Batch]:
    """Loads a SavedModel written here, as a callable from batch to batch."""
    import tensorflow as tf

    # On a GPU TensorFlow may use TF32, which is coarser than what is to be proven.
    with tf.device("/CPU:0"):
        loaded = tf.saved_model.load(str(path))
    endpoint = loaded.signatures["serving_default"]

    def run(batch: Batch) -> Batch:
        with tf.device("/CPU:0"):
            given = endpoint(**{name: tf.constant(x) for name, x in batch.items()})
            return {name: y.numpy() for name, y in given.items()}

    # A signature is only borrowed from the object it belongs to.
    run.loaded = loaded  # type: ignore[attr-defined]
    return run
