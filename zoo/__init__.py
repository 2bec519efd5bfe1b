"""Networks that skip connections made famous, and their training.

The contents, and the modules by their names, load on first use, so that `import zoo` costs nothing and the command
line answers before Keras is there.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .architecture import draw, network_stages
    from .comparison import compare
    from .counting import multiply_adds
    from .data import Batches, Preprocessing, Source, load_source
    from .evaluation import evaluate
    from .gating import gates
    from .gradients import GradientFlow, GradientProbe
    from .interruption import Interrupted
    from .lesions import lesion
    from .loading import load, load_weights
    from .publishing import publish
    from .recipes import get_recipe, list_recipes
    from .registry import build, describe, list_models
    from .report import write_report
    from .reuse import feature_reuse
    from .runs import Run, TrainingError, list_runs, open_run
    from .settings import Recipe
    from .survival import survival_profile
    from .training import resume, train
    from .vanishing import vanishing_product
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
    "draw": "architecture",
    "evaluate": "evaluation",
    "feature_reuse": "reuse",
    "gates": "gating",
    "get_recipe": "recipes",
    "lesion": "lesions",
    "list_models": "registry",
    "list_recipes": "recipes",
    "list_runs": "runs",
    "load": "loading",
    "load_source": "data",
    "load_weights": "loading",
    "multiply_adds": "counting",
    "network_stages": "architecture",
    "open_run": "runs",
    "publish": "publishing",
    "resume": "training",
    "survival_profile": "survival",
    "train": "training",
    "vanishing_product": "vanishing",
    "write_report": "report",
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
    "draw",
    "evaluate",
    "feature_reuse",
    "gates",
    "get_recipe",
    "lesion",
    "list_models",
    "list_recipes",
    "list_runs",
    "load",
    "load_source",
    "load_weights",
    "multiply_adds",
    "network_stages",
    "open_run",
    "publish",
    "resume",
    "survival_profile",
    "train",
    "vanishing_product",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    if not name.startswith("_") and find_spec(f"{__name__}.{name}"):
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
