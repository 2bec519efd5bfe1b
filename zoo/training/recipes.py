"""The recipes: one parent for each paper, from which each recipe differs by what it states.

What was changed in the papers' recipes is what cannot be written down otherwise: their lengths in iterations are epochs
here (64,000 iterations of 128 images are 164 epochs of CIFAR-10), and He et al. end the warm-up when the training error
falls below 80 %, "about 400 iterations", so it has 400. The papers hold out 5,000 training images to choose the
schedule; with the schedule known, all 50,000 are trained on.
"""

from dataclasses import replace
from typing import Any

from .._names import unknown
from ..data.augmentation import Augmentation
from ..networks.catalogue import MODELS
from .recipe import Optimizer, Recipe, Schedule


def _named(parent: Recipe, name: str, **differences: Any) -> Recipe:
    return replace(parent, name=name, command=f"keras-skip train {name}", cost="", result="", **differences)


# Each parent is a recipe without a network; only its children are listed.
def _parent(**settings: Any) -> Recipe:
    return Recipe(name="", network="", **settings)


_CROP_AND_FLIP = Augmentation(pad=4, flip=True)

# He et al. 2015: plain momentum; the decay's reach is not stated, so it is that of Caffe's usual prototxt: the kernels.
_RESIDUAL = _parent(
    source="cifar10",
    epochs=164,
    optimizer=Optimizer(lr=0.1, nesterov=False, weight_decay=1e-4),
    schedule=Schedule(kind="step", milestones=(0.5, 0.75)),
    augment=_CROP_AND_FLIP,
)
_WARM_UP = Schedule(kind="step", milestones=(0.5, 0.75), warmup=400 / 64000, warmup_factor=0.1)

# The authors' code from here on is Torch's: Nesterov's form, and a decay of every parameter.
_TORCH = Optimizer(lr=0.1, weight_decay=1e-4, decay_norm_and_bias=True)

# He et al. 2016.
_PREACTIVATION = replace(_RESIDUAL, optimizer=_TORCH, schedule=_WARM_UP)

# Huang et al. 2016.
_STOCHASTIC = replace(_RESIDUAL, optimizer=_TORCH, epochs=500)

# Zagoruyko and Komodakis 2016.
_WIDE = replace(
    _RESIDUAL,
    epochs=200,
    optimizer=replace(_TORCH, weight_decay=5e-4),
    schedule=Schedule(kind="step", milestones=(0.3, 0.6, 0.8), factor=0.2),
    augment=replace(_CROP_AND_FLIP, pad_mode="reflect"),
)

# Huang et al. 2017.
_DENSE = replace(_RESIDUAL, optimizer=_TORCH, epochs=300, batch_size=64)

# Srivastava et al. 2015, the authors' Caffe: 200,000 iterations of 100 images. There the images are
# contrast-normalised, the biases learn twice as fast, and the last layer decays ten times as fast.
_HIGHWAY = _parent(
    source="cifar10",
    arguments={"dropout": 0.2},
    epochs=400,
    batch_size=100,
    optimizer=Optimizer(lr=0.025, weight_decay=1e-3),
    schedule=Schedule(kind="step", milestones=(0.5, 0.75, 0.875)),
    augment=Augmentation(pad=8, flip=True),
)
# 180,000 iterations. Their dropout rises from 0.2 on the image to 0.5 before the logits.
_HIGHWAY_MNIST = _parent(
    source="mnist",
    arguments={"dropout": 0.3},
    epochs=300,
    batch_size=100,
    optimizer=Optimizer(lr=0.01, weight_decay=1e-3),
    schedule=Schedule(kind="step", milestones=(1 / 3, 2 / 3)),
)

_PAPERS = {
    "resnet:cifar_resnet": _RESIDUAL,
    "resnet:plain": _RESIDUAL,
    "resnet:stochastic_resnet": _STOCHASTIC,
    "preactivation:preact_resnet": _PREACTIVATION,
    "wide:wide_resnet": _WIDE,
    "densenet:cifar_densenet": _DENSE,
    "highway:highway_cifar": _HIGHWAY,
    "highway:highway_mnist": _HIGHWAY_MNIST,
}
_DIFFERENT: dict[str, dict[str, Any]] = {
    "resnet110": {"schedule": _WARM_UP},
    "resnet1202": {"schedule": _WARM_UP},
}


def _papers() -> list[Recipe]:
    """A recipe for each network of the papers on small images, named after it and its data."""
    return [
        _named(
            _PAPERS[entry.builder],
            f"{entry.name}_{_PAPERS[entry.builder].source}",
            network=entry.name,
            paper=f"{entry.paper_error}; {entry.paper}" if entry.paper_error else "",
            **_DIFFERENT.get(entry.name, {}),
        )
        for entry in MODELS.values()
        if entry.builder in _PAPERS
    ]


# Short recipes for a machine without a GPU: the rate rises for a quarter of the run and falls to nothing.
_FAST = _parent(
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
_MLPS = ("plain_mlp", "residual_mlp", "highway_mlp", "dense_mlp")

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        _RESNET20_DIGITS,
        *(
            _named(_RESNET20_DIGITS, f"{name}_digits", network=name)
            for name in ("preact_resnet20", "stochastic_resnet32")
        ),
        *(_named(_MLP_DIGITS, f"{mlp}_digits", network=mlp) for mlp in _MLPS),
        *(_named(_MLP_MNIST, f"{mlp}_mnist_fast", network=mlp) for mlp in _MLPS),
        _named(_FAST, "resnet20_cifar10_fast", network="resnet20"),
        _named(_FAST, "wrn_16_2_cifar10_fast", network="wrn_16_2", epochs=15),
        *(
            _named(_FAST_MNIST, f"highway_mnist_{width}{carry}_mnist_fast", network=f"highway_mnist_{width}{carry}")
            for width in (16, 32)
            for carry in ("", "_carry")
        ),
        *_papers(),
    )
}


def list_recipes() -> list[str]:
    """The names of all recipes."""
    return sorted(RECIPES)


def get_recipe(name: str | Recipe) -> Recipe:
    """A recipe by its name; a `Recipe` comes back as it is.

    Raises:
        ValueError: If there is no such recipe; the message suggests the nearest names.

    Example:

    >>> import zoo
    >>> zoo.get_recipe("resnet20_digits").network
    'resnet20'
    """
    if isinstance(name, Recipe):
        return name
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]
