"""Test-time augmentation: the logits of an image are averaged over several views of it.

    view                                  "mirror"   "shift"   "mirror+shift"
    the image                                1/2       1/2          1/4
    shifted by a pixel, right and down                 1/4          1/8
    shifted by a pixel, left and up                    1/4          1/8
    each of these mirrored, left to right    1/2                the same

The edge is filled in by reflection. Jordan, 2024, https://arxiv.org/abs/2404.00498

"ten-crop" needs larger images: crops of the four corners and the centre, and their mirror images, count 1/10 each.
Krizhevsky et al., 2012, https://papers.nips.cc/paper/4824
"""

from typing import TYPE_CHECKING

from .._names import unknown
from ..data.augmentation import Augmentation

if TYPE_CHECKING:
    import keras

VIEWS = ("mirror", "shift", "mirror+shift")
TEN_CROP = "ten-crop"


def resolve_views(tta: bool | str, augmentation: Augmentation | None) -> str:
    """Returns the name of the views that `evaluate` is asked for.

    Args:
        tta: One of `VIEWS`, or "ten-crop"; True for those that a network saw in training.
        augmentation: With which it was trained; None if that is not known.

    Raises:
        ValueError: If there are no such views, or the network saw none of them.
    """
    if isinstance(tta, str):
        if tta not in (*VIEWS, TEN_CROP):
            raise unknown("tta", tta, (*VIEWS, TEN_CROP))
        return tta
    if augmentation is None:
        raise ValueError(
            f"Expected the name of views for a model whose training is unknown: {', '.join(VIEWS)}. Received: tta=True"
        )
    seen = seen_views(augmentation)
    if not seen:
        raise ValueError(
            f"Expected the name of views for a network whose training had none of them: {', '.join(VIEWS)}. "
            f"Received: tta=True, augment.flip={augmentation.flip!r}, augment.pad={augmentation.pad}"
        )
    return seen


def seen_views(augmentation: Augmentation) -> str:
    """The name of the views that a network saw in training; empty if it saw none of them."""
    seen = {"mirror": augmentation.flip, "shift": augmentation.pad}
    return "+".join(view for view, was_seen in seen.items() if was_seen)


def weights_of(views: str) -> list[float]:
    """The weight of each view, in the order in which `tta_model` makes them: the mirrored ones come last."""
    if views not in VIEWS:
        raise unknown("views", views, VIEWS)
    weights = [0.5, 0.25, 0.25] if "shift" in views else [1.0]
    return [weight / 2 for weight in weights] * 2 if "mirror" in views else weights


def tta_model(model: "keras.Model", views: str = "mirror+shift") -> "keras.Model":
    """Makes a model that averages the logits of an image over several views of it.

    It shares the weights of the network, which sees all views of a batch as one larger batch. It can be saved, exported
    and served as the network can.

    Args:
        model: A network from images to logits.
        views: "mirror" (the image and its mirror image, left to right), "shift" (the image with a weight of 1/2, and
            the image shifted by one pixel right and down, and left and up, with 1/4 each), or "mirror+shift" (all
            six). Reflection fills in the edge. Do not mirror what has a direction, such as digits.

    Returns:
        A `keras.Model`, named after the network and "_tta".

    Raises:
        ValueError: If there are no such views, or the model does not go from images to logits.

    Example:

    >>> import zoo
    >>> zoo.tta_model(zoo.build("resnet20"), "mirror").output_shape
    (None, 10)

    Reference:
        Jordan, 94% on CIFAR-10 in 3.29 Seconds on a Single GPU, 2024, https://arxiv.org/abs/2404.00498
    """
    import keras
    from keras import ops

    from ..networks._common import channels_first

    weights = weights_of(views)
    _check_network(model)
    (given,) = model.inputs
    image = keras.Input(given.shape[1:], dtype=given.dtype, name=given.name)
    height = 2 if channels_first() else 1
    x = image
    if "shift" in views:
        sides = [(1, 1) if axis in (height, height + 1) else (0, 0) for axis in range(4)]
        padded, ends = ops.pad(x, sides, mode="reflect"), (slice(None, -2), slice(2, None))
        whole = (slice(None),) * height
        x = ops.concatenate([x, *(padded[*whole, end, end] for end in ends)], axis=0)
    if "mirror" in views:
        x = ops.concatenate([x, ops.flip(x, axis=height + 1)], axis=0)
    logits = ops.split(model(x), len(weights), axis=0)
    average = sum(weight * part for weight, part in zip(weights, logits, strict=True))
    return keras.Model(image, average, name=f"{model.name}_tta")


def ten_crop_model(model: "keras.Model", shape: tuple[int, ...]) -> "keras.Model":
    """Makes a model that averages the logits of an image over ten crops of it, which it takes as one input.

    Args:
        model: A network from images to logits.
        shape: Of a crop, as the network takes it.

    Raises:
        ValueError: If the model does not go from images to logits.
    """
    import keras
    from keras import ops

    from ..data.crops import COUNT
    from ..networks._common import channels_first

    _check_network(model)
    first = channels_first()
    # Channels that come first do so before the crops.
    crops = keras.Input((shape[0], COUNT, *shape[1:]) if first else (COUNT, *shape))
    one_by_one = ops.reshape(ops.moveaxis(crops, 2, 1) if first else crops, (-1, *shape))
    logits = model(one_by_one)
    average = ops.mean(ops.reshape(logits, (-1, COUNT, logits.shape[-1])), axis=1)
    return keras.Model(crops, average, name=f"{model.name}_ten_crop")


def _check_network(model: "keras.Model") -> None:
    shapes = [tuple(x.shape) for name in ("inputs", "outputs") for x in getattr(model, name, None) or ()]
    if [len(shape) for shape in shapes] != [4, 2]:
        raise ValueError(f"Expected a network from images to logits. Received: {model.name}, of the shapes {shapes}")
