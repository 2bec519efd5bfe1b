"""A photograph as a camera writes it, pictures of any mode and size, and an artifact that reads photos."""

import io
from pathlib import Path

import numpy as np
from keras import ops
from PIL import Image
from sklearn.datasets import load_sample_image

import export
from tests.export.models import RAW, conv_net

LABELS = ["ant", "bee", "cat", "dog"]


def photo() -> bytes:
    """A JPEG of 427x640 pixels (height x width), stored on its side, with the rotation in its EXIF."""
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6  # the top of the picture is at the right
    Image.fromarray(np.rot90(load_sample_image("china.jpg"))).save(file, "JPEG", exif=exif)
    return file.getvalue()


def noisy_png(mode: str, size: tuple[int, int]) -> bytes:
    """A PNG whose left and right halves differ, with noise; its edge is transparent where it can be."""
    width, height = size
    pixels = np.random.default_rng(1).integers(0, 80, (height, width, 4), "uint8")
    pixels[:, width // 2 :, :3] += 150
    pixels[..., 0] //= 2
    pixels[..., 3] = 255
    pixels[-height // 4 :, :, 3] = 100
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "PNG")
    return file.getvalue()


def upright(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).transpose(Image.Transpose.ROTATE_270)


def seen(data: bytes) -> np.ndarray:
    """The centre of 8x8 pixels of the photo, whose longer side becomes int(640 * 8 / 427) = 11 pixels."""
    return np.asarray(upright(data).resize((11, 8), Image.Resampling.BICUBIC))[:, 2:10]


def keras_says(pixels) -> np.ndarray:
    return np.asarray(ops.softmax(conv_net()(RAW.apply(np.stack(pixels)))))


def make(path: Path, **options) -> Path:
    given = {"preprocessing": RAW, "activation": "softmax", "labels": LABELS, "formats": ["onnx"], "name": "photos"}
    return export.export(conv_net(), path, device="cpu", **{**given, **options}).path
