"""Networks that skip connections made famous, and their training.

The contents load on first use, so that `import zoo` costs nothing and the command line answers before Keras is there.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .comparison import compare
    from .counting import multiply_adds
    from .data import Batches, Preprocessing, Source, load_source
    from .evaluation import evaluate
    from .gradients import GradientFlow, GradientProbe
    from .interruption import Interrupted
    from .loading import load, load_weights
    from .publishing import publish
    from .recipes import get_recipe, list_recipes
    from .registry import build, describe, list_models
    from .runs import Run, TrainingError, list_runs, open_run
    from .settings import Recipe
    from .training import resume, train
    from .weights.cards import card

_HOME = {
    "Batches": "data",
    "GradientFlow": "gradients",
    "GradientProbe": "gradients",
    "Interrupted": "interruption",
    "Preprocessing": "data",
    "Recipe": "settings",
    "Run": "runs",
    "Source": "data",
    "TrainingError": "runs",
    "build": "registry",
    "card": "weights.cards",
    "compare": "comparison",
    "describe": "registry",
    "evaluate": "evaluation",
    "get_recipe": "recipes",
    "list_models": "registry",
    "list_recipes": "recipes",
    "list_runs": "runs",
    "load": "loading",
    "load_source": "data",
    "load_weights": "loading",
    "multiply_adds": "counting",
    "open_run": "runs",
    "publish": "publishing",
    "resume": "training",
    "train": "training",
}

__all__ = [
    "Batches",
    "GradientFlow",
    "GradientProbe",
    "Interrupted",
    "Preprocessing",
    "Recipe",
    "Run",
    "Source",
    "TrainingError",
    "build",
    "card",
    "compare",
    "describe",
    "evaluate",
    "get_recipe",
    "list_models",
    "list_recipes",
    "list_runs",
    "load",
    "load_source",
    "load_weights",
    "multiply_adds",
    "open_run",
    "publish",
    "resume",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
