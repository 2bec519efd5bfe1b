"""Converts a Keras model to an ONNX file or a SavedModel, and proves that it computes the same as Keras."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .convert.onnx_model import write_onnx
from .convert.versions import DEFAULT_OPSET, choose_opset
from .engines.choice import open_engine
from .engines.engine import EngineName
from .model.signature import Samples
from .model.wrapping import make_endpoint
from .preprocessing import Preprocessing
from .proof.prove import prove
from .proof.reference import compute_reference
from .storage.onnx_publishing import publish_onnx
from .storage.publishing import publish
from .storage.schema import Activation, Layout

if TYPE_CHECKING:
    import keras


def to_onnx(
    model: "keras.Model",
    path: str | Path,
    *,
    opset: int = DEFAULT_OPSET,
    for_runtime: str | None = None,
    preprocessing: Preprocessing | Mapping[str, Any] | None = None,
    activation: Activation | None = None,
    layout: Layout | None = None,
    engine: EngineName | None = None,
    samples: Samples | None = None,
    overwrite: bool = False,
    atol: float | None = None,
    rtol: float | None = None,
) -> Path:
    """Writes a model as an ONNX file for inference with a dynamic batch, and compares the file with Keras.

    A model with a half-precision policy is written in float32, with the same weights. Inputs and outputs have the
    model's names. If Keras generated the name of a single one, it is called "input" or "output". Dynamic dimensions are
    called "batch", "height" and "width" for images, and "length" for sequences. Weights above 2 GB go into a second
    file, PATH.data, which the first one needs.

    Args:
        model: A Keras model.
        path: The file to write.
        opset: The ONNX opset, 13 to 24.
        for_runtime: The oldest onnxruntime that must run the file, from "1.13" to "1.26". Instead of `opset`, the file
            then has the newest opset that this onnxruntime runs, and the IR version that belongs to it.
        preprocessing: Turns raw input into the input of a model that has one; None adds nothing.
        activation: "softmax" or "sigmoid", added to the output of a model that has one, which is then called
            "probabilities"; None adds nothing.
        layout: The axis of the channels of images: "nhwc", "nchw" or None, as in the model.
        engine: The converter: "tf2onnx", or without TensorFlow "jax2onnx" for models on JAX and "torch" for models on
            PyTorch, both from opset 18 on. The default is tf2onnx if TensorFlow is installed. For models on JAX and
            PyTorch, tf2onnx runs in a second process, which rebuilds the model from its config and weights.
        samples: Real raw inputs to compare in addition to random ones. A model needs them if it has never seen an
            input, or takes only sizes or integers that the export does not find.
        overwrite: Whether to replace an existing file, and its weights with it.
        atol: The absolute difference that is allowed in addition to roundings, as in `export`.
        rtol: The difference that is allowed as a share of the range of each channel, as in `export`.

    Returns:
        The file.

    Raises:
        FileExistsError: If the path exists.
        ExportError: If an operation cannot be converted; no file is left.
        ParityError: If onnxruntime computes something else.
        ValueError: If an argument is invalid.

    Example:
        >>> to_onnx(model, "classifier.onnx")
        >>> onnxruntime.InferenceSession("classifier.onnx").run(["output"], {"input": images})
    """
    opset = choose_opset(opset, for_runtime)
    with open_engine(engine, opset) as tool:
        endpoint = make_endpoint(model, preprocessing, activation, layout, samples, tool)
        reference = compute_reference(endpoint, model, samples, atol=atol, rtol=rtol)
        with publish_onnx(path, overwrite) as building:
            write_onnx(endpoint, building, opset, convert=tool.convert)
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
    """Writes a model as a SavedModel for inference, and compares it with Keras.

    A model with a half-precision policy is written in float32, with the same weights. Inputs and outputs have the
    model's names. If Keras generated the name of a single one, it is called "input" or "output".

    Args:
        model: A Keras model.
        path: The folder to make.
        preprocessing: Turns raw input into the input of a model that has one; None adds nothing.
        activation: "softmax" or "sigmoid", added to the output of a model that has one, which is then called
            "probabilities"; None adds nothing.
        layout: The axis of the channels of images: "nhwc", "nchw" or None, as in the model.
        samples: Real raw inputs to compare in addition to random ones. A model needs them if it has never seen an
            input, or takes only sizes or integers that the export does not find.
        overwrite: Whether to replace an existing SavedModel.
        atol: The absolute difference that is allowed in addition to roundings, as in `export`.
        rtol: The difference that is allowed as a share of the range of each channel, as in `export`.

    Returns:
        The folder.

    Raises:
        FileExistsError: If the path exists.
        ExportError: If the model cannot be exported.
        ParityError: If the SavedModel computes something else.
        ValueError: If an argument is invalid.

    Example:
        >>> to_saved_model(model, "classifier")
        >>> tf.saved_model.load("classifier").serve(images)["output"]
    """
    with open_engine("tf2onnx", DEFAULT_OPSET) as tool:
        endpoint = make_endpoint(model, preprocessing, activation, layout, samples, tool)
        reference = compute_reference(endpoint, model, samples, atol=atol, rtol=rtol)
        with publish(path, overwrite, _is_saved_model) as building:
            tool.write_saved_model(endpoint, building)
            prove(reference, saved_model=tool.load_saved_model(building))
    return Path(path)


def _is_saved_model(folder: Path) -> bool:
    from .convert.saved_model import find_unknown

    return (folder / "saved_model.pb").is_file() and not find_unknown(folder)
