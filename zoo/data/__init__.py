"""Labelled images: where they come from, and how they reach a network.

The contents load on first use: the sources and the settings of the augmentation do not need Keras, the batches do.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .augmentation import Augmentation
    from .batches import Batches
    from .source import Preprocessing, Source
    from .sources import load_source

_HOME = {
    "Augmentation": "augmentation",
    "Batches": "batches",
    "Preprocessing": "source",
    "Source": "source",
    "load_source": "sources",
}

__all__ = ["Augmentation", "Batches", "Preprocessing", "Source", "load_source"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
