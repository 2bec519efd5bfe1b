"""The recipes for ImageNet, NETWORK_imagenet. None of them has been run to the end here. The accuracy to expect is that
of the papers; the cost is computed from the multiply-adds, next to published GPU hours.

Goyal et al. train residual networks in batches of 256 at a learning rate of 0.1 for 90 epochs: the rate rises over the
first 5, and falls to a tenth after 30, 60 and 80. With k times as many images in a batch, it is k times as high. Only
kernels are decayed, and each block starts as its shortcut. Training images are random-resized crops, mirrored at
random; evaluation takes the centre crop from a shorter side of 256 pixels. Where another paper did otherwise, its
recipe below says so.

Goyal et al., Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour, 2017, https://arxiv.org/abs/1706.02677
Wightman et al., ResNet strikes back: An improved training procedure in timm, 2021, https://arxiv.org/abs/2110.00476
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ..data.augmentation import Augmentation
from ..networks.catalogue import MODELS
from .recipe import Optimizer, Recipe, Schedule

IMAGENET = "imagenet"  # the data of these recipes, which users have to provide
IMAGES, SIZE = 1_281_167, 224

GOYAL = "Goyal et al. 2017, Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour, arXiv 1706.02677"
TIMM = "Wightman et al. 2021, ResNet strikes back: An improved training procedure in timm, arXiv 2110.00476"

_PLAIN = Recipe(
    name="",
    network="",
    source=IMAGENET,
    image_size=(SIZE, SIZE),
    shorter=256,
    epochs=90,
    batch_size=256,
    optimizer=Optimizer(lr=0.1, weight_decay=1e-4),
    schedule=Schedule(kind="step", warmup=5 / 90, milestones=(30 / 90, 60 / 90, 80 / 90)),
    augment=Augmentation(crop_area=(0.08, 1.0), flip=True),
)
_FROM_SHORTCUTS = {"zero_init_gamma": True}
# As in the code of Gross and Wilber, fb.resnet.torch, with which the authors of two of the papers trained.
_COLOURED = replace(_PLAIN.augment, brightness=0.4, contrast=0.4, saturation=0.4, lighting=0.1)
_TWO_STEPS = Schedule(kind="step", milestones=(30 / 90, 60 / 90))  # without a warm-up

_A3 = replace(
    _PLAIN,
    arguments=_FROM_SHORTCUTS,
    shorter=235,  # a crop of 0.95
    epochs=100,
    batch_size=2048,
    # Parts of 512 images, as on each of the paper's four GPUs; set 1 on four devices.
    accumulate=4,
    # timm's LAMB clips gradients by default.
    optimizer=Optimizer(kind="lamb", lr=8e-3, weight_decay=0.02, clip_norm=1.0),
    schedule=Schedule(kind="cosine", warmup=5 / 100),
    augment=replace(_PLAIN.augment, rand_ops=2, rand_magnitude=6.0, mixup=0.1, cutmix=1.0, sizes=((0.0, 160),)),
    loss="binary",
    loss_threshold=0.0,
)


def imagenet_recipes() -> Iterator[Recipe]:
    """Yields the recipes; for each network, that of its paper comes before a later one."""
    yield _recipe(
        "resnet18",
        "69.8 % top-1, one crop (torchvision's weights, from 90 epochs); 72.1 %, ten crops: He et al. 2015, Deep "
        "Residual Learning for Image Recognition, arXiv 1512.03385",
        arguments=_FROM_SHORTCUTS,
    )
    yield _recipe(
        "resnet50",
        f"76.4 % top-1, one crop (an error of 23.60 ± 0.12 %): {GOYAL}",
        "256 GPU hours in that paper, an hour on 256 P100",
        arguments=_FROM_SHORTCUTS,
    )
    yield _recipe(
        "resnet101",
        f"77.9 % top-1, one crop (an error of 22.08 ± 0.06 %): {GOYAL}",
        "395 GPU hours in that paper, 92.5 minutes on 256 P100",
        arguments=_FROM_SHORTCUTS,
    )
    # Its authors decay all variables; the epochs are those above.
    yield _recipe(
        "wide_resnet50_2",
        "78.1 % top-1, one crop (the authors' code): Zagoruyko & Komodakis 2016, Wide Residual Networks, "
        "arXiv 1605.07146",
        optimizer=replace(_PLAIN.optimizer, decay_norm_and_bias=True),
        augment=_COLOURED,
    )
    yield _recipe(
        "resnet50_v2",
        "76.0 % top-1, one crop (the weights of keras.applications); He et al. 2016, Identity Mappings in Deep "
        "Residual Networks, arXiv 1603.05027, train deeper ones",
        schedule=_TWO_STEPS,
    )
    yield _recipe(
        "densenet121",
        "75.0 % top-1, one crop (an error of 25.02 %): Huang et al. 2017, Densely Connected Convolutional Networks, "
        "arXiv 1608.06993",
        optimizer=replace(_PLAIN.optimizer, decay_norm_and_bias=True),
        schedule=_TWO_STEPS,
        augment=_COLOURED,
    )
    # Unlike the paper, RandAugment's strength does not vary. A3 has no repeated augmentation in the paper either.
    yield _recipe(
        "resnet50",
        f"78.1 % top-1, one crop: procedure A3 of {TIMM}",
        "60 GPU hours in that paper, 15 hours on four V100 in half precision",
        name="resnet50_a3_imagenet",
        base=_A3,
    )


def _recipe(network: str, paper: str, hours: str = "", name: str = "", base: Recipe = _PLAIN, **others: Any) -> Recipe:
    """Makes the recipe of a network; others are settings that differ from the base."""
    name = name or f"{network}_{IMAGENET}"
    recipe = replace(base, name=name, network=network, paper=paper, command=f"keras-skip train {name} --data FOLDER")
    return replace(recipe, cost=_cost(recipe, hours), **others)


def _cost(recipe: Recipe, hours: str) -> str:
    """What a run should cost: three times the multiply-adds of a forward pass for each image, and published hours."""
    side = recipe.augment.height(0.0) or SIZE
    images = recipe.epochs * IMAGES
    forward = MODELS[recipe.network].multiply_adds * (side / SIZE) ** 2
    whole = f"{3 * forward * images:.1e}".replace("e+", "e")
    counted = f"{whole} multiply-adds, 3 x {forward / 1e9:.2f} G for each of {images / 1e6:.0f} M images"
    return "; ".join(filter(None, ("not run to the end here", counted, hours)))
