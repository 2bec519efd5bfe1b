"""Chooses a recipe by the data, for a network that is given by its name.

1. With weights, a recipe for fine-tuning, below; for a user's own model, one for few data with a lower rate.
2. For data that the network has a recipe for, such as digits or cifar10, the first such recipe.
3. For 100,000 training images or more, of at least 64 pixels, the network's first recipe for ImageNet, if it has one.
4. For 10,000 training examples or more, the network's first recipe for CIFAR-10 or MNIST, if it has one. Images that
   are not in colour are neither mirrored nor whitened, and what is not an image is not augmented.
5. Otherwise a recipe for few data, below.

Those for fine-tuning and for few data depend on the number of training examples, and on whether they are images:

    batch       16 below 1,000 examples, 32 below 4,000, 64 below 16,000, else 128
    epochs      enough for about 600 steps of fine-tuning, 1,500 of new weights; from 5 to 40, and from 10 to 100
    images      shifted by up to an eighth of their height; colour images, which usually show things, also mirrored
    rate        at its peak, 0.05 for new weights; for fine-tuning, 0.005 for the body and 0.05 for the head;
                0.02 for a user's own model
"""

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..data.augmentation import Augmentation
from ..networks.catalogue import MODELS
from .recipe import Optimizer, Recipe, Schedule
from .recipes import RECIPES, recipes_of

if TYPE_CHECKING:
    from ..data import Source

MANY = 10_000
# About a tenth of ImageNet's images, and the height of its smallest downsampled versions that still show objects well.
PHOTOS, TALL = 100_000, 64
_BATCHES = ((1_000, 16), (4_000, 32), (16_000, 64))
_LARGEST = 128

FEW = Recipe(
    name="",
    network="",
    optimizer=Optimizer(lr=0.05, weight_decay=5e-4, clip_norm=1.0),
    schedule=Schedule(kind="cosine", warmup=0.1),
)
TUNED = replace(FEW, optimizer=Optimizer(lr=0.005, weight_decay=5e-4, clip_norm=1.0, rates={"head/*": 10.0}))
# A user's own model may be trained already or not.
OWN = replace(FEW, optimizer=Optimizer(lr=0.02, weight_decay=5e-4, clip_norm=1.0))


def facts_of(source: "Source") -> dict[str, Any]:
    """Returns what the choice depends on, as plain data."""
    inputs = source.train_inputs
    images = inputs.dtype == "uint8" and inputs.ndim == 4
    shape = list(source.input_shape) if images else None
    return {"data": source.name, "examples": len(source.train_targets), "image": shape, "axes": inputs.ndim}


def choose_recipe(network: str, facts: dict[str, Any], weights: str | None = None, own: bool = False) -> Recipe:
    """Chooses a recipe for a network by the rule above.

    Args:
        network: A name of `zoo.list_models()`, or the name of a user's own model.
        facts: Facts about the data; see `facts_of`.
        weights: The weights that the network starts from.
        own: Whether it is a user's own model.

    Returns:
        The recipe.

    Example:

    >>> from zoo.training.choice import choose_recipe
    >>> recipe = choose_recipe("resnet20", {"data": "photos", "examples": 300, "image": [32, 32, 3]}, "cifar10")
    >>> recipe.name, recipe.batch_size, recipe.epochs
    ('resnet20_finetune', 16, 32)
    """
    examples = facts["examples"]
    if own:
        return _fit(OWN, f"{network}_own", network, facts, 1500, 10, 100)
    if weights is not None:
        return _fit(TUNED, f"{network}_finetune", network, facts, 600, 5, 40)
    known = recipes_of(network)
    written = [recipe for recipe in known if recipe.source == facts["data"]]
    if examples >= PHOTOS and (facts["image"] or [0])[0] >= TALL and (photos := recipe_of_photos(network)):
        written.append(photos)
    # Growing images are of sizes for these data alone.
    general = [recipe for recipe in known if not recipe.augment.sizes]
    large = [recipe for recipe in general if recipe.source in ("cifar10", "mnist") and examples >= MANY]
    if written:
        return written[0]
    if large:
        return _suit(large[0], facts)
    return _fit(FEW, f"{network}_few", network, facts, 1500, 10, 100)


def recipe_of_photos(network: str) -> Recipe | None:
    """The first recipe of a network that sets a size for photos; None if none does."""
    return next((recipe for recipe in recipes_of(network) if recipe.image_size), None)


def _suit(recipe: Recipe, facts: dict[str, Any]) -> Recipe:
    """Removes from a recipe for colour images what does not suit other data."""
    if facts.get("axes", 4) != 4:
        return replace(recipe, augment=Augmentation())
    image = facts["image"]
    if image is None or image[-1] == 3:
        return recipe
    start = tuple(name for name in recipe.initialization if name != "whitening")
    return replace(recipe, initialization=start, augment=replace(recipe.augment, flip=False))


def is_network(name: object) -> bool:
    """Whether something is the name of a network, and not of a recipe."""
    return isinstance(name, str) and name in MODELS and name not in RECIPES


def _fit(base: Recipe, name: str, network: str, facts: dict[str, Any], steps: int, least: int, most: int) -> Recipe:
    """The recipe for a number of examples."""
    examples, image = facts["examples"], facts["image"]
    batch = next((size for below, size in _BATCHES if examples < below), _LARGEST)
    epochs = min(max(math.ceil(steps / math.ceil(examples / batch)), least), most)
    augment = Augmentation()
    if image:
        augment = Augmentation(pad=image[0] // 8, pad_mode="reflect", flip=image[-1] == 3)
    return replace(
        base, name=name, network=network, source=facts["data"], batch_size=batch, epochs=epochs, augment=augment
    )
