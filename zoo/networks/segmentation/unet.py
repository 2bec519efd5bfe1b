"""U-Nets: an encoder that halves the size again and again, and a decoder that doubles it, with a skip at each size.

    `unet`             any network of the zoo with feature maps as the encoder, in segmentation_models_pytorch's form
    `residual_unet`    its own encoder of residual blocks, for images and volumes

Ronneberger et al., U-Net, 2015, https://arxiv.org/abs/1505.04597
Cicek et al., 3D U-Net, 2016, https://arxiv.org/abs/1606.06650
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from ...weights.naming import Naming, Rules, minus_one
from .._arguments import document, one_of, positive, positive_integers
from .._common import block_norm, convolution, kernels, network, network_input, norm_activation, residual_blocks, sides
from ..family import Family, Row
from ._decoder import CLASSES, MAPS, SKIP, Skip, check_multiples, decode, pixel_head

if TYPE_CHECKING:
    import keras

UNET = "Ronneberger et al. 2015, U-Net, arXiv 1505.04597"
UNET_3D = "Cicek et al. 2016, 3D U-Net, arXiv 1606.06650"
INPUT_SHAPE = (256, 256, 3)
VOLUME_SHAPE = (128, 128, 128, 4)

_document = partial(document, classes=CLASSES, skip=SKIP, features_only=MAPS)


@_document
def unet(
    input_shape: Sequence[int | None] = INPUT_SHAPE,
    classes: int = 21,
    backbone: str = "resnet34",
    backbone_arguments: Mapping[str, Any] | None = None,
    skip: Skip = "plain",
    decoder_filters: Sequence[int] | None = None,
    weight_decay: float = 0.0,
    features_only: bool = False,
    recompute: bool = False,
    survival_prob: float = 1.0,
    *,
    build_backbone: "Callable[..., tuple[keras.Model, set[str]]]",
) -> "keras.Model":
    """U-Net on any network of the zoo that has feature maps; by default in segmentation_models_pytorch's form.

    The variables of the backbone have the same paths as in the backbone itself, so its trained weights fit:

        trained = zoo.load("resnet50_keras", weights="imagenet", features_only=True)
        for layer in trained.layers:
            model.get_layer(layer.name).set_weights(layer.get_weights())

    A skip from a pre-activation block, or from a stem without normalisation, gets a normalisation and a ReLU.

    Args:
        input_shape: (height, width, channels), where the sides are multiples of the stride of the last map: 32 with
            networks for ImageNet, 4 with those for small images. Sides may be None; then pad images to such sides.
        backbone: One of `list_models()`.
        backbone_arguments: More arguments of the backbone, such as {"depth": 50}.
        decoder_filters: Of each step of the decoder, the coarsest first. Default: 16 at the full size, and twice as
            many at each halving; (256, 128, 64, 32, 16) on networks for ImageNet.
        recompute: Whether the blocks of the backbone and of the decoder keep only their inputs for the gradients.
        survival_prob: Of the last block of the backbone, and of the decoder's residual blocks; it falls linearly.
        build_backbone: Builds the feature maps of a network by its name; `zoo.build` passes it.

    Returns:
        A model from float images to logits (B, height, width, classes), named "unet". The logits are the last axis
        with channels_first too.

    Raises:
        ValueError: For an argument out of range, a network without feature maps, or one whose maps do not halve.

    Example:

    >>> import zoo
    >>> zoo.build("unet", backbone="resnet20", input_shape=(16, 16, 1), classes=2).output_shape
    (None, 16, 16, 2)
    """
    wanted: dict[str, Any] = {"weight_decay": weight_decay, "recompute": recompute, "survival_prob": survival_prob}
    wanted["normalized_maps"] = True
    encoder, used = build_backbone(backbone, input_shape, wanted, backbone_arguments or {})
    if survival_prob != 1.0 and "survival_prob" not in used and skip != "residual":
        raise ValueError(
            f"Expected survival_prob=1.0, since neither {backbone} nor the decoder has blocks to drop. "
            f"Received: survival_prob={survival_prob!r}"
        )
    image, maps = encoder.input, {level: _normalized(level, x) for level, x in encoder.output.items()}
    _check_maps(image, maps, backbone)
    decoded = decode(maps, decoder_filters, skip, weight_decay, recompute, survival_prob)
    return network(image, decoded, classes, weight_decay, "unet", features_only, partial(pixel_head, size=3))


@_document
def residual_unet(
    input_shape: Sequence[int | None] = VOLUME_SHAPE,
    classes: int = 4,
    dimensions: Literal[2, 3] = 3,
    filters: Sequence[int] = (32, 64, 128, 256, 320),
    blocks: int = 1,
    skip: Skip = "plain",
    decoder_filters: Sequence[int] | None = None,
    weight_decay: float = 0.0,
    features_only: bool = False,
    recompute: bool = False,
    survival_prob: float = 1.0,
) -> "keras.Model":
    """U-Net for images or volumes whose encoder is made of residual blocks.

    The encoder is a convolution with normalisation and ReLU, then the blocks of each size; the first block of each but
    the first size halves it. The decoder is as in `unet`, and its head a convolution of size 1. All other
    convolutions have the size 3.

    Args:
        input_shape: (depth, height, width, channels), where the sides are multiples of 2 for each halving, of 16 with
            five sizes. Sides may be None; then pad the inputs to such sides.
        dimensions: 3 for volumes, 2 for images (height, width, channels).
        filters: Of each size of the encoder, the largest first.
        blocks: Residual blocks of each size.
        decoder_filters: Of each step of the decoder, the coarsest first. Default: the encoder's.
        survival_prob: Of the last block of the encoder, and of the decoder's residual blocks; it falls linearly.

    Returns:
        A model from float inputs to logits (B, depth, height, width, classes), named "unet3d", or (B, height, width,
        classes), named "unet2d". The logits are the last axis with channels_first too.

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.segmentation.unet import residual_unet
    >>> residual_unet((16, 16, 16, 1), classes=2, filters=(4, 8)).output_shape
    (None, 16, 16, 16, 2)
    """
    from keras_skip import ResidualBlock

    widths = positive_integers(filters, "filters")
    if len(widths) < 2:
        raise ValueError(f"Expected filters of at least two sizes. Received: filters={filters!r}")
    axes, name = (
        (("height", "width"), "image")
        if one_of(dimensions, "dimensions", (2, 3)) == 2
        else (("depth", "height", "width"), "volume")
    )
    image = network_input(input_shape, axes, name)
    check_multiples(image, 2 ** (len(widths) - 1))
    options: dict[str, Any] = {"recompute": recompute, **block_norm(), **kernels(weight_decay)}
    counts = [positive(blocks, "blocks")] * len(widths)
    x = norm_activation(convolution(image, widths[0], "stem_conv", weight_decay), "stem")
    maps = {}
    for stage, strides, own in residual_blocks(counts, survival_prob):
        x = ResidualBlock(widths[stage - 1], strides=strides, **options, **own)(x)
        maps[f"C{stage - 1}"] = x
    decoder_filters = widths[-2::-1] if decoder_filters is None else decoder_filters
    decoded = decode(maps, decoder_filters, skip, weight_decay, recompute, survival_prob)
    return network(image, decoded, classes, weight_decay, f"unet{dimensions}d", features_only, pixel_head)


def _normalized(level: str, x: "keras.KerasTensor") -> "keras.KerasTensor":
    """The map, after a normalisation if it comes from a layer whose output has none."""
    import keras

    from keras_skip import DenseBlock, PreActivationBlock, PreActivationBottleneckBlock, WideBlock

    raw = (keras.layers.Conv2D, DenseBlock, PreActivationBlock, PreActivationBottleneckBlock, WideBlock)
    return norm_activation(x, f"skip{level[1:]}") if isinstance(x._keras_history.operation, raw) else x


def _check_maps(image: "keras.KerasTensor", maps: "Mapping[str, keras.KerasTensor]", backbone: str) -> None:
    """Raises a ValueError for maps that do not have the size of the image, divided by their strides."""
    check_multiples(image, 2 ** max(int(level[1:]) for level in maps))
    for level, x in maps.items():
        stride = 2 ** int(level[1:])
        for size, of_image in zip(sides(x), sides(image), strict=True):
            if size is not None and size != of_image // stride:
                raise ValueError(
                    f"Expected a backbone whose map {level} has 1/{stride} of the size of its image. "
                    f"Received: backbone={backbone!r}, {level} of size {size} for an image of size {of_image}"
                )


_DECODER: Rules = (
    (r"^head$", "segmentation_head.0"),
    (r"^(decoder)(\d+)_", minus_one("{}.blocks.{}.")),
    (r"(decoder\.blocks\.\d+\.conv\d)$", r"\1.0"),
    (r"(decoder\.blocks\.\d+\.conv\d)_norm$", r"\1.1"),
)


def smp_naming(backbone: Naming) -> Naming:
    """The naming of segmentation_models_pytorch, given that of the backbone in its own library."""
    return replace(
        backbone,
        owners=(*_DECODER, *backbone.owners),
        whole=(*backbone.whole, (r"^(?!decoder\.|segmentation_head\.)", "encoder.")),
        # Encoders by timm, which it names "tu-resnet34".
        older=((r"^encoder\.model\.", "encoder."), *backbone.older),
        arguments={"backbone_arguments": backbone.arguments} if backbone.arguments else {},
        library="segmentation_models_pytorch",
    )


FAMILIES = (
    Family(
        unet,
        "U-Net on a backbone of the zoo",
        (Row("unet", {"backbone": "resnet34"}, 24_439_269, 19_008, 8_002_732_032),),
        UNET,
        "segmentation",
        INPUT_SHAPE,
        classes=21,  # of Pascal VOC, with the background
        decoder_naming=smp_naming,
    ),
    Family(
        residual_unet,
        "U-Net of residual blocks for volumes",
        (Row("unet3d", {}, 16_724_036, 6_720, 632_540_889_088),),
        UNET_3D,
        "segmentation",
        VOLUME_SHAPE,  # patches of BraTS, with four modalities; the classes are three tissues and the background
        classes=4,
    ),
)
