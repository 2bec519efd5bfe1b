"""What a network takes from its data: the categories and the scale of a table's columns, the units of its targets."""

from typing import TYPE_CHECKING, Any

from ..networks.registry import describe
from ..networks.tables.adaptation import adapt
from ..networks.tables.preparation import SCALING
from ..tasks import task_of

if TYPE_CHECKING:
    import keras

    from ..data import Source


def arguments_for(network: str, source: "Source") -> dict[str, Any]:
    """The arguments with which a network for tables takes the columns of a source."""
    if source.table is None:
        return {}
    taken = describe(network).arguments
    found = {"categories": tuple(source.table.categories), "scaling": "standard"}
    return {name: value for name, value in found.items() if name in taken}


def fit_to_data(model: "keras.Model", source: "Source") -> "keras.Model":
    """Sets the scale of a table's columns from the training rows, and adds what the task needs after the last layer."""
    if any(layer.name == SCALING for layer in model.layers):
        adapt(model, source.preprocessing(source.train_inputs))
    return task_of(source).finish(model, source)
