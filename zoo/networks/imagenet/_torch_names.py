"""What torchvision and timm call the residual networks, and the variables in them."""

from ...weights.naming import Naming, minus_one, torch_naming

# How timm's names tell the stems and the shortcuts apart.
LETTERS = {
    ("plain", "stride"): "",
    ("deep", "stride"): "c",
    ("deep", "pool"): "d",
    ("wide", "pool"): "e",
    ("wide", "stride"): "s",
    ("tiered", "pool"): "t",
}


def name_of(
    depth: int,
    widening: int,
    groups: int,
    width_per_group: int,
    stem: str,
    stem_pool: str,
    downsample: str,
    attention: str | None,
) -> str:
    """The name that timm gives to the residual network of these arguments; see `imagenet_resnet`."""
    if stem_pool == "convolution":
        return f"resnetrs{depth}"
    letter = LETTERS.get((stem, downsample), f"_{stem}_{downsample}")
    name = f"{attention or ''}{'resnet' if groups == 1 else 'resnext'}{depth}{letter}"
    if (groups, width_per_group) != (1, 64):
        name += f"_{groups}x{width_per_group}d"
    return name if widening == 1 else f"wide_{name}_{widening}"


def _torch_naming(projection: int) -> Naming:
    """The names that torchvision and timm have in common, if the projection is at that place of a shortcut."""
    return torch_naming(
        "torchvision or timm",
        (
            (r"^stem_conv$", "conv1"),
            # Each convolution of a deep stem is followed by its normalisation and a ReLU.
            (r"^stem_(\d)_conv$", lambda match: f"conv1.{3 * int(match[1]) - 3}"),
            (r"^stem_(\d)_norm$", lambda match: f"conv1.{3 * int(match[1]) - 2}"),
            (r"^stem_norm$", "bn1"),
            (r"^stem_pool_conv$", "maxpool.0"),
            (r"^stem_pool_norm$", "maxpool.1"),
            (r"^head$", "fc"),
            (r"/projection$", f"/downsample.{projection}"),
            (r"/projection_norm$", f"/downsample.{projection + 1}"),
            (r"/channel_attention/reduce$", "/se.fc1"),
            (r"/channel_attention/expand$", "/se.fc2"),
            (r"/channel_attention/conv$", "/se.conv"),
            (r"/norm(\d)$", r"/bn\1"),
            (r"^stage(\d)_block(\d+)/", minus_one("layer{}.{}.")),
        ),
    )


TORCH_NAMING = _torch_naming(0)
# In the shortcuts of timm's networks, a pooling may come first.
NAMINGS = (TORCH_NAMING, _torch_naming(1))
# The statistics of a shortcut are at one place or the other, its weights are at both.
ANCHORS = ("stem_conv/kernel", "stem_1_conv/kernel", "stage2_block1/projection_norm/moving_mean", "head/bias")
