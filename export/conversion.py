"""A Keras model as an ONNX file or a SavedModel, each proven to compute what Keras does."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .convert.onnx_model import DEFAULT_OPSET, write_onnx
from .convert.saved_model import load_saved_model, write_saved_model
from .errors import ExportError
from .model.endpoint import make_endpoint
from .model.signature import Samples
from .preprocessing import Preprocessing
from .proof.prove import prove
from .proof.reference import compute_reference
from .storage import onnx_files
from .storage.publishing import publish
from .storage.schema import Activation, Layout

if TYPE_CHECKING:
    import keras


def to_onnx(
    model: "keras.Model",
    path: str | Path,
    *,
    opset: int = DEFAULT_OPSET,
    preprocessing: Preprocessing | Mapping[str, Any] | None = None,
    activation: Activation | None = None,
    layout: Layout | None = None,
    samples: Samples | None = None,
    overwrite: bool = False,
    atol: float | None = None,
    rtol: float | None = None,
) -> Path:
    """Writes the model, for inference, as an ONNX file with a dynamic batch, and proves the file against Keras.

    A model under a half-precision policy is written in float32, with the same weights. Inputs and outputs have the
    model's names; where Keras made a name up, a single one is called "input" or "output". Dynamic dimensions are named:
    "batch", "height" and "width" of images, "length" of sequences.

    Args:
        model: A Keras model.
        path: The file to write.
        opset: The version of ONNX's operations, 13 to 18.
        preprocessing: Put before a model with one input; None leaves its input as it is.
        activation: Put after a model with one output, which is then called "probabilities": "softmax", "sigmoid" or
            None.
        layout: Where images have their channels: "nhwc", "nchw" or None, as the model has them.
        samples: Real raw inputs, compared in addition to random ones; needed if the model has never seen an input, or
            takes only sizes or integers that the export does not find by trying.
        overwrite: Whether a file already there may be replaced.
        atol: Absolute difference from Keras allowed in addition to roundings, as in `export`.
        rtol: Difference allowed as a share of the range of each channel, as in `export`.

    Returns:
        The file.

    Raises:
        FileExistsError: If something is there already.
        ExportError: If an operation cannot be converted, which the message names, or if the weights are larger than
            2 GB; no file is left.
        ParityError: If onnxruntime computes something else.
        ValueError: If an argument is not usable.

    Example:
        >>> to_onnx(model, "classifier.onnx")
        >>> onnxruntime.InferenceSession("classifier.onnx").run(["output"], {"input": images})
    """
    endpoint = make_endpoint(model, preprocessing, activation, layout, samples)
    reference = compute_reference(endpoint, model, samples, atol=atol, rtol=rtol)
    with publish(path, overwrite, Path.is_file) as building:
        write_onnx(endpoint, building, opset)
        if any(file != building for file in building.parent.iterdir()):
            raise ExportError(
                f"Expected at most {onnx_files.LARGEST / 1e9:.1f} GB of weights for a file of its own. "
                f"Received: {endpoint.model.name} with more, which export() writes into a folder"
            )
        prove(reference, onnx=building)
    return Path(path)


def to_saved_model(
    model: "keras.Model",
    path: str | Path,
    *,
    preprocessing: Preprocessing | Mapping[str, Any] | None = None,
    activation: Activation | None = None,
    layout: Layout | None = None,
    samples: Samples | None = None,
    overwrite: bool = False,
    atol: float | None = None,
    rtol: float | None = None,
) -> Path:
    """Writes the model, for inference, as a SavedModel, and proves that it computes what Keras does.

    A model under a half-precision policy is written in float32, with the same weights. Inputs and outputs have the
    model's names; where Keras made a name up, a single one is called "input" or "output".

    Args:
        model: A Keras model.
        path: The folder to make.
        preprocessing: Put before a model with one input; None leaves its input as it is.
        activation: Put after a model with one output, which is then called "probabilities": "softmax", "sigmoid" or
            None.
        layout: Where images have their channels: "nhwc", "nchw" or None, as the model has them.
        samples: Real raw inputs, compared in addition to random ones; needed if the model has never seen an input, or
            takes only sizes or integers that the export does not find by trying.
        overwrite: Whether a SavedModel already there may be replaced.
        atol: Absolute difference from Keras allowed in addition to roundings, as in `export`.
        rtol: Difference allowed as a share of the range of each channel, as in `export`.

    Returns:
        The folder.

    Raises:
        FileExistsError: If something is there already.
        ExportError: If the model cannot be exported.
        ParityError: If the SavedModel computes something else.
        ValueError: If an argument is not usable.

    Example:
        >>> to_saved_model(model, "classifier")
        >>> tf.saved_model.load("classifier").serve(images)["output"]
    """
    endpoint = make_endpoint(model, preprocessing, activation, layout, samples)
    reference = compute_reference(endpoint, model, samples, atol=atol, rtol=rtol)
    with publish(path, overwrite, lambda target: (target / "saved_model.pb").is_file()) as building:
        write_saved_model(endpoint, building)
        prove(reference, saved_model=load_saved_model(building))
    return Path(path)
