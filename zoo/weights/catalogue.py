"""The weights that have a name, by network: the network's row lists those that others publish, a card ours."""

from ..networks.catalogue import MODELS
from .cards import SHIPPED, Card, cards
from .published import Published


def available(name: str) -> tuple[str, ...]:
    """The names that `load` takes as weights of a network; empty where there are none.

    Args:
        name: The network.

    Returns:
        Such as ("imagenet",).

    Example:

    >>> from zoo.weights import available
    >>> available("resnet50_keras"), available("resnet50")
    (('imagenet',), ())
    """
    return tuple(row.name for row in _weights_of(name))


def find(name: str, weights: object) -> Published | None:
    """The published weights of that name, or None."""
    return next((row for row in _weights_of(name) if row.name == weights), None)


def holders(weights: object) -> list[str]:
    """The networks that have published weights of that name."""
    names = {*MODELS, *(card.network for card in cards())}
    return sorted(name for name in names if find(name, weights) is not None)


def _weights_of(name: str) -> tuple[Published, ...]:
    """Those that others publish, and those that come with the package."""
    ours = (_shipped(card) for card in cards() if card.network == name)
    return (*(MODELS[name].weights if name in MODELS else ()), *ours)


def _shipped(card: Card) -> Published:
    arguments = {"input_shape": card.input_shape, **card.arguments}
    return Published(card.weights, str(SHIPPED / card.file), card.sha256, card.preprocessing, arguments, card.image)
