"""Colour jitter and lighting noise.

Brightness, contrast and saturation blend an image x with another one, b, by a random factor: f x + (1 - f) b, with
f ~ uniform(1 - s, 1 + s) for a setting s. b is black, the mean of the grey image, or the grey image. The hue shifts by
uniform(-s, s) of the colour circle. Each image gets these changes in a random order.

Lighting noise shifts the colours of an image along the principal components p_i of ImageNet's colours, with variances
v_i, by sum_i a_i v_i p_i, with a_i ~ normal(0, s).
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance

from . import Augmentation

# Of pixels from 0 to 1; the components are columns.
_VARIANCES = np.array([0.2175, 0.0188, 0.0045])
_COMPONENTS = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])


def _turn_hue(image: Image.Image, turn: float) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    turned = hue.point([(place + round(255 * turn)) % 256 for place in range(256)])
    return Image.merge("HSV", (turned, saturation, value)).convert("RGB")


# Takes an image, and a factor or, for the hue, a turn.
_CHANGES: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "brightness": lambda image, factor: ImageEnhance.Brightness(image).enhance(factor),
    "contrast": lambda image, factor: ImageEnhance.Contrast(image).enhance(factor),
    "saturation": lambda image, factor: ImageEnhance.Color(image).enhance(factor),
    "hue": _turn_hue,
}


def jitter(
    images: np.ndarray, options: Augmentation, rng: np.random.Generator, count: int, indices: np.ndarray
) -> np.ndarray:
    """Changes brightness, contrast, saturation and hue of uint8 images in a random order."""
    strengths = np.array([getattr(options, name) for name in _CHANGES])
    draws = strengths * (2 * rng.random((count, len(_CHANGES)))[indices] - 1)
    orders = rng.random((count, len(_CHANGES)))[indices].argsort(axis=1)
    names, out = list(_CHANGES), np.empty_like(images)
    for place, (pixels, values, order) in enumerate(zip(images, draws.tolist(), orders.tolist(), strict=True)):
        image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        for number in order:
            if strengths[number]:
                value = values[number] + (names[number] != "hue")
                image = _CHANGES[names[number]](image, value)
        out[place] = np.asarray(image).reshape(pixels.shape)
    return out


def add_lighting_noise(
    images: np.ndarray, std: float, rng: np.random.Generator, count: int, indices: np.ndarray
) -> np.ndarray:
    """Adds a random colour to each of some uint8 RGB images."""
    shifts = 255 * std * rng.normal(size=(count, 3))[indices] * _VARIANCES @ _COMPONENTS.T
    tables = np.clip(np.round(shifts[..., None] + np.arange(256)), 0, 255).astype("uint8")
    out = np.empty_like(images)
    for place, (pixels, table) in enumerate(zip(images, tables, strict=True)):
        out[place] = np.asarray(Image.fromarray(pixels).point(table.ravel().tolist()))
    return out
