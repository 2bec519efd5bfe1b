"""The network that a run starts from: a new one, one with trained weights, or a user's own model.

A run that does not start from new weights keeps its first network, so that resuming needs nothing else:

    initial.keras         the network before its first step
    initial.weights.h5    only its weights, if Keras cannot save its classes
"""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np

from .._files import replace_file
from ..data import Preprocessing, Source
from ..networks.registry import build, check_arguments
from ..tasks import task_of
from ..weights.archive import load_network
from ..weights.loading import load
from .evaluation import check_shapes, check_task, network_shape
from .fitting import arguments_for, fit_to_data
from .logits import remove_softmax
from .recipe import Recipe

if TYPE_CHECKING:
    from .runs import Run

SCALING = (keras.layers.Rescaling, keras.layers.Normalization)
NETWORK, WEIGHTS = "initial.keras", "initial.weights.h5"


class Start(NamedTuple):
    """A user's own model, prepared for a run.

    Attributes:
        network: From inputs to logits.
        source: The data, preprocessed as the model expects.
        record: What run.json says about it.
    """

    network: keras.Model
    source: Source
    record: dict[str, Any]


def build_network(recipe: Recipe, source: Source) -> keras.Model:
    """Builds the network of a recipe for the inputs and targets of a source, with the recipe's weights."""
    check_arguments(recipe.network, recipe.arguments)
    weight_decay = recipe.optimizer.weight_decay
    arguments = {"weight_decay": weight_decay, **arguments_for(recipe.network, source), **recipe.arguments}
    shape, outputs = network_shape(source), source.outputs
    if recipe.weights is None:
        model, finish = build(recipe.network, shape, outputs, **arguments), fit_to_data
    else:
        model = load(recipe.network, recipe.weights, input_shape=shape, classes=outputs, **arguments)
        finish = task_of(source).finish
    check_task(model, source)
    return finish(model, source)


def read_model(model: keras.Model | str | Path, source: Source, note: str = "") -> Start:
    """Prepares a user's own model: copies it, and makes it map the inputs of a source to logits.

    A model that Keras cannot save is not copied, but trained itself.

    Args:
        model: The model, or its .keras file.
        source: The data.
        note: What the model is for, in errors.

    Raises:
        ValueError: If the file is broken or names code, or if the model does not fit the data.
    """
    file = None if isinstance(model, keras.Model) else str(model)
    network = _with_input(model if isinstance(model, keras.Model) else load_network(Path(model)), source)
    check_shapes(network, source, note)
    copy = network if file else _copy(network)
    network = network if copy is None else copy
    scales = any(isinstance(layer, SCALING) for layer in network._flatten_layers())
    if scales:
        source = replace(source, preprocessing=Preprocessing.identity())
    ending = "numbers"
    if source.classes:
        network, ending = remove_softmax(network, source)
    record = {"name": network.name, "file": file, "kept": copy is not None}
    return Start(network, source, record | {"ending": ending, "scales_inputs": scales})


def image_size_of(model: keras.Model | str | Path) -> tuple[int, int] | None:
    """Height and width of the images that a model takes; None if it takes other inputs, or images of any size."""
    network = model if isinstance(model, keras.Model) else load_network(Path(model))
    inputs: Any = getattr(network, "inputs", None) or ()
    shape = list(inputs[0].shape[1:]) if len(inputs) == 1 else []
    if len(shape) != 3:
        return None
    height, width = shape[:2] if keras.config.image_data_format() == "channels_last" else shape[1:]
    return None if height is None or width is None else (height, width)


def _copy(model: keras.Model) -> keras.Model | None:
    """A copy of a model; None if Keras cannot save its classes, or does not know them by name."""
    with tempfile.TemporaryDirectory() as folder:
        return _write_and_read(model, Path(folder, NETWORK))


def _write_and_read(model: keras.Model, path: Path) -> keras.Model | None:
    try:
        with replace_file(path) as beside:
            model.save(beside)
            return load_network(beside)
    except (NotImplementedError, TypeError, ValueError):
        return None


def _with_input(model: keras.Model, source: Source) -> keras.Model:
    """The model as a graph of one input and one output; a subclassed one becomes its only layer."""
    if isinstance(model, keras.Sequential) and not model.built:
        model.build((None, *network_shape(source)))
    if getattr(model, "inputs", None) is None:
        x = keras.Input(network_shape(source), name="image")
        try:
            return keras.Model(x, model(x), name=model.name)
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ValueError(
                f"Expected a model that takes a batch of shape {(None, *network_shape(source))}. "
                f"Received: {model.name}, which fails: {reason}"
            ) from error
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ValueError(
            "Expected a model of one input and one output. "
            f"Received: {model.name}, with {len(model.inputs)} and {len(model.outputs)}"
        )
    return model


def keep_initial(network: keras.Model, folder: Path) -> None:
    """Writes the first network of a run into its folder, or its weights alone if it could not be read again."""
    if _write_and_read(network, folder / NETWORK) is None:
        with replace_file(folder / WEIGHTS) as beside:
            network.save_weights(beside)


def set_seeds(network: keras.Model, seed: int) -> None:
    """Starts the random generators of a network again: a file does not hold them, and each load draws new ones."""
    states = [variable for variable in network.variables if variable.path.endswith("seed_generator_state")]
    for variable, drawn in zip(states, np.random.default_rng(seed).integers(2**31, size=len(states)), strict=True):
        variable.assign(np.array([drawn, 0], variable.dtype))


def decay_kernels(network: keras.Model, weight_decay: float) -> None:
    """Gives the kernels of a user's own model the weight decay of the recipe, unless they have a regulariser."""
    for variable in network.trainable_variables if weight_decay else ():
        if variable.name.endswith("kernel") and variable.regularizer is None:
            variable.regularizer = keras.regularizers.L2(weight_decay / 2)


def save_network(network: keras.Model, path: Path) -> None:
    """Saves a trained network as a .keras file, or only its weights next to it if Keras cannot save its classes."""
    try:
        with replace_file(path) as beside:
            network.save(beside)
    except NotImplementedError:
        with replace_file(path.with_suffix(".weights.h5")) as beside:
            network.save_weights(beside)


def read_initial(run: "Run", source: Source, model: keras.Model | None) -> keras.Model | None:
    """Reads the first network of a run that is resumed; None for one whose recipe builds it.

    A run that was stopped before it kept its first network reads or builds that network again.

    Raises:
        ValueError: If the run needs the user's own model, and `model` is None.
    """
    folder, described = run.path, run.record.get("model")
    if (folder / NETWORK).is_file():
        return load_network(folder / NETWORK)
    if described is None:
        return None
    given = described["file"] if model is None else model
    if given is None:
        raise ValueError(
            f"Expected model={described['name']}, which the run at {str(folder)!r} began with and did not keep. "
            "Received: model=None"
        )
    network = read_model(given, source).network  # of a source that is preprocessed as it was
    if (folder / WEIGHTS).is_file():
        network.load_weights(folder / WEIGHTS)
    return network
