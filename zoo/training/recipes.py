"""The recipes: those of the papers, which are with the families of `zoo.networks`, and short ones of our own.

The papers' recipes differ from the papers in two things. They state lengths in epochs instead of iterations (64,000
iterations of 128 images are 164 epochs of CIFAR-10). And they train on all 50,000 images: the papers hold out 5,000 to
choose the schedule, which is known now.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from .._names import unknown
from ..data.augmentation import Augmentation
from ..networks.catalogue import MODELS
from .imagenet import imagenet_recipes
from .recipe import Optimizer, Recipe, Schedule


def _rename(parent: Recipe, name: str, **differences: Any) -> Recipe:
    return replace(
        parent, **{"name": name, "command": f"keras-skip train {name}", "cost": "", "result": "", **differences}
    )


def _paper_recipes() -> Iterator[Recipe]:
    """Yields a recipe for each network that its paper trained on small images, named after it and its data."""
    for name, entry in MODELS.items():
        if recipe := entry.recipe or entry.family.recipe:
            paper = f"{entry.paper_error}; {entry.family.paper}" if entry.paper_error else ""
            yield _rename(recipe, f"{name}_{recipe.source}", network=name, paper=paper)


# Short recipes for a machine without a GPU: the rate rises for a quarter of the run and falls to nothing.
_FAST = Recipe(
    name="",
    network="",
    source="cifar10",
    epochs=48,
    optimizer=Optimizer(lr=0.25, weight_decay=5e-4),
    schedule=Schedule(kind="one-cycle", warmup=0.25),
    augment=Augmentation(pad=4, pad_mode="reflect", flip=True),
)
_FAST_MNIST = replace(
    _FAST,
    source="mnist",
    epochs=6,
    optimizer=Optimizer(lr=0.05, weight_decay=5e-4, clip_norm=1.0),
    augment=Augmentation(pad=2),
)
_MLP_MNIST = replace(_FAST_MNIST, epochs=10, optimizer=Optimizer(lr=0.02, weight_decay=5e-4, clip_norm=1.0))

_OF_PAPERS = {recipe.name: recipe for recipe in _paper_recipes()}
# airbench's, with the author's changes for longer runs: larger shifts, and cutout.
_AIRBENCH = "airbench_residual_64_192_256"
_PROGRESSIVE = Augmentation(
    pad=4, pad_mode="reflect", flip="alternating", cutout=8, sizes=((0.0, 20), (0.4, 24), (0.7, 32))
)

_RESNET20_DIGITS = Recipe(
    name="resnet20_digits",
    network="resnet20",
    command="keras-skip train resnet20_digits",
    epochs=20,
    batch_size=64,
    optimizer=Optimizer(lr=0.1, weight_decay=5e-4),
    schedule=Schedule(kind="one-cycle", warmup=0.25),
    augment=Augmentation(pad=1),
    cost="27 to 39 s on 2 CPU cores that were shared",
    result="test accuracy 98.9, 98.9, 99.4, 99.7, 98.9 % with the seeds 0 to 4",
)
_MLP_DIGITS = replace(
    _RESNET20_DIGITS, epochs=30, optimizer=Optimizer(lr=0.02, weight_decay=5e-4), augment=Augmentation()
)
_STACK_DIGITS = replace(
    _MLP_DIGITS, epochs=10, optimizer=Optimizer(lr=0.3, weight_decay=5e-4, clip_norm=1.0), augment=Augmentation()
)
_TABLE = Recipe(
    name="",
    network="tabular_resnet",
    arguments={"depth": 1, "width": 64, "dropout": 0.3},
    epochs=30,
    batch_size=32,
    optimizer=Optimizer(lr=0.01, weight_decay=1e-2),
    schedule=Schedule(kind="one-cycle", warmup=0.25),
)
_SHARED = "2 CPU cores that were shared"
_TABLES = (
    ("diabetes", 46, "test R² 0.50 and 0.47 with the seeds 0 and 1; a linear regression reaches 0.52"),
    ("wine", 26, "test accuracy 100 %"),
    ("breast_cancer", 36, "test accuracy 98.2 %"),
)
_MLPS = ("plain_mlp", "residual_mlp", "highway_mlp", "dense_mlp")

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        _RESNET20_DIGITS,
        *(
            _rename(_RESNET20_DIGITS, f"{name}_digits", network=name)
            for name in ("preact_resnet20", "stochastic_resnet32")
        ),
        *(_rename(_MLP_DIGITS, f"{mlp}_digits", network=mlp) for mlp in _MLPS),
        _rename(_STACK_DIGITS, "stack_encoder_digits", network="stack_encoder"),
        _rename(_RESNET20_DIGITS, "stack_convnet_digits", network="stack_convnet", epochs=10),
        _rename(_MLP_DIGITS, "stack_mlp_digits", network="stack_mlp"),
        *(
            _rename(_TABLE, f"tabular_resnet_{source}", source=source, result=result, cost=f"{seconds} s on {_SHARED}")
            for source, seconds, result in _TABLES
        ),
        _rename(
            _RESNET20_DIGITS,
            "resnet1d_18_digits_signals",
            network="resnet1d_18",
            source="digits_signals",
            epochs=10,
            augment=Augmentation(),
            cost=f"75 s on {_SHARED}",
            result="test accuracy 96.9 %",
        ),
        _rename(
            _RESNET20_DIGITS,
            "unet_digits_masks",
            network="unet",
            arguments={"backbone": "resnet20"},
            source="digits_masks",
            epochs=30,
            batch_size=16,
            augment=Augmentation(),
            cost=f"166 s on {_SHARED}",
            result="test mean IoU 67.0 %, 97.7 % of the pixels right",
        ),
        *(_rename(_MLP_MNIST, f"{mlp}_mnist_fast", network=mlp) for mlp in _MLPS),
        _rename(_FAST, "resnet20_cifar10_fast", network="resnet20"),
        _rename(_FAST, "wrn_16_2_cifar10_fast", network="wrn_16_2", epochs=15),
        _rename(
            _OF_PAPERS[f"{_AIRBENCH}_cifar10"],
            f"{_AIRBENCH}_cifar10_fast",
            epochs=24,
            evaluate_every=24,
            augment=_PROGRESSIVE,
            cost=f"99 min on {_SHARED}, without AVX-512",
            result="test accuracy 90.1 %, or 91.1 % with views averaged, on a JPEG copy of the images",
        ),
        *(
            _rename(_FAST_MNIST, f"highway_mnist_{width}{carry}_mnist_fast", network=f"highway_mnist_{width}{carry}")
            for width in (16, 32)
            for carry in ("", "_carry")
        ),
        *_OF_PAPERS.values(),
        *imagenet_recipes(),
    )
}


def list_recipes() -> list[str]:
    """Lists the names of all recipes."""
    return sorted(RECIPES)


def recipes_of(network: str) -> list[Recipe]:
    """The recipes that train a network."""
    return [recipe for recipe in RECIPES.values() if recipe.network == network]


def get_recipe(name: str | Recipe) -> Recipe:
    """Looks up a recipe by its name; a `Recipe` is returned as it is.

    Raises:
        ValueError: If there is no such recipe. The message lists the recipes of a network of that name, or suggests the
            nearest names.

    Example:

    >>> import zoo
    >>> zoo.get_recipe("resnet20_digits").network
    'resnet20'
    """
    if isinstance(name, Recipe):
        return name
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES, "`keras-skip recipes`", _hint(name))
    return RECIPES[name]


def _hint(network: str) -> str:
    """A sentence on the recipes of a network; empty if it is none."""
    if network not in MODELS:
        return ""
    names = ", ".join(recipe.name for recipe in recipes_of(network))
    return f"{network} is a network; its recipes are {names}." if names else f"{network} is a network without a recipe."
