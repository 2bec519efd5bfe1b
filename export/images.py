"""Turns image files into the pixels that a network takes, in training and in serving alike.

The rotation in EXIF is applied; palettes and CMYK become RGB; 16 bits are scaled to 8; transparent pixels show white;
an animation gives its first frame. The format of a file follows from its contents, not from its suffix. This needs only
NumPy and Pillow, and Pillow only once an image is read.
"""

import io
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeAlias, Union, get_args

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset(
    (".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp")
)
Resize = Literal["crop", "stretch"]
RESIZES: tuple[str, ...] = get_args(Resize)
INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
# A path, the contents of a file, a Pillow image, or uint8 pixels.
ImageLike: TypeAlias = Union[str, "os.PathLike[str]", bytes, "Image", np.ndarray]
# Pillow knows more formats, but some of them run other programs.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_MOST_PIXELS = 2**26
_GREY = ("1", "L")
_ORIENTATION, _ON_ITS_SIDE = 0x0112, (5, 6, 7, 8)  # EXIF's tag, and its values that swap height and width
# Takes the height and width of an upright image, and returns the least height and width that are needed.
Least: TypeAlias = Callable[[int, int], tuple[int, int]]


class BadImage(ValueError):
    """An image cannot be decoded; the message gives only the reason."""


@dataclass(frozen=True)
class ImageReader:
    """Reads an image of any size as the pixels that a network takes.

    With s for the shorter side of the image and r for its new length, "crop" resizes both sides by r / s and cuts the
    `size` out of the centre. "stretch" resizes to `size` at once, which changes the proportions.

    Args:
        size: Height and width. None: as they are.
        channels: 3 for RGB, 1 for grey. None: 1 for a grey image, and 3 for others.
        resize: "crop" or "stretch".
        shorter: The shorter side before the crop, at least the longer side of `size`. The default crops as little as
            possible.
        interpolation: One of Pillow's filters, by name. All but "nearest" smooth when they shrink an image.

    Raises:
        ValueError: If a value is invalid.

    Example:

    >>> import numpy as np
    >>> from export.images import ImageReader
    >>> photo = np.zeros((48, 64, 3), "uint8")
    >>> ImageReader((32, 32))(photo).shape
    (32, 32, 3)
    """

    size: tuple[int, int] | None = None
    channels: int | None = 3
    resize: str = "crop"
    shorter: int | None = None
    interpolation: str = "bicubic"

    def __post_init__(self) -> None:
        if self.size is not None:
            object.__setattr__(self, "size", check_size("size", self.size))
        if self.channels not in (1, 3, None):
            raise ValueError(f"Expected channels to be 1, 3 or None. Received: channels={self.channels!r}")
        for name, allowed in (("resize", RESIZES), ("interpolation", INTERPOLATIONS)):
            if (value := getattr(self, name)) not in allowed:
                raise ValueError(f"Expected {name} to be one of {', '.join(allowed)}. Received: {name}={value!r}")
        if self.shorter is not None:
            least = max(self.size or (1,))
            if self.resize != "crop" or self.size is None or not _is_whole(self.shorter) or self.shorter < least:
                raise ValueError(
                    f"Expected shorter to be None, or a whole number of at least {least} for resize='crop' to a size. "
                    f"Received: shorter={self.shorter!r}"
                )

    def __call__(self, image: ImageLike) -> np.ndarray:
        """Reads one image.

        Args:
            image: A path, the contents of a file, a Pillow image, or uint8 pixels of shape (height, width) or (height,
                width, 1, 3 or 4).

        Returns:
            uint8 pixels, (height, width, channels).

        Raises:
            BadImage: If it cannot be decoded.
            OSError: If a file cannot be read.
            ImportError: If Pillow is not installed.
        """
        opened = open_image(image)
        if self.channels is not None:
            opened = in_mode(opened, "L" if self.channels == 1 else "RGB")
        pixels = np.asarray(self._fit(opened))
        return pixels[..., None] if pixels.ndim == 2 else pixels

    def read(self, images: "ImageLike | Sequence[ImageLike]") -> np.ndarray:
        """Reads one image, a sequence of them or an array (images, height, width, channels) as a batch.

        Raises:
            ValueError: If one cannot be decoded, there are none, or they keep sizes that differ.
            OSError: If a file cannot be read.
        """
        several = isinstance(images, (list, tuple)) or (isinstance(images, np.ndarray) and images.ndim == 4)
        given: Sequence[ImageLike] = images if several else [images]  # type: ignore[assignment, list-item]
        read = [self._read_one(image, number, len(given)) for number, image in enumerate(given, 1)]
        if len(shapes := {pixels.shape for pixels in read}) != 1:
            received = ", ".join(f"{height}x{width}" for height, width, _ in sorted(shapes)) or "no image"
            raise ValueError(f"Expected images of one size, since the network takes any. Received: {received}")
        return np.stack(read)

    def _read_one(self, image: ImageLike, number: int, count: int) -> np.ndarray:
        try:
            return self(image)
        except BadImage as error:
            received = str(error)
            if isinstance(image, (str, os.PathLike)):
                received = f"{os.fspath(image)!r} ({error})"
            elif count > 1:
                received = f"image {number} of {count} ({error})"
            raise ValueError(f"Expected an image that can be read. Received: {received}") from None

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields, ready for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ImageReader":
        """Makes a reader from the result of `to_dict`.

        Raises:
            ValueError: If a name is unknown, or a value invalid.
        """
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(values) - set(known)):
            raise ValueError(f"Expected a reader of images with the fields {known}. Received: {unknown}")
        return cls(**values)

    def _fit(self, image: "Image") -> "Image":
        """Resizes and crops."""
        if self.size is None or (self.shorter is None and (image.height, image.width) == self.size):
            return image
        height, width = self.size if self.resize == "stretch" else self._sides_before_crop(image.height, image.width)
        if height * width > _MOST_PIXELS:
            raise BadImage(f"{image.width}x{image.height} pixels, too long and narrow to crop")
        resample = getattr(_pillow().Resampling, self.interpolation.upper())
        image = image.resize((width, height), resample)
        top, left = (round((side - cut) / 2) for side, cut in zip((height, width), self.size, strict=True))
        return image.crop((left, top, left + self.size[1], top + self.size[0]))

    def _sides_before_crop(self, height: int, width: int) -> tuple[int, int]:
        """The sides that keep the proportions, rounded down."""
        assert self.size is not None
        if self.shorter is None:
            rows, columns = self.size
            if width * rows >= height * columns:
                return rows, width * rows // height
            return height * columns // width, columns
        shortest = min(height, width)
        return self.shorter * height // shortest, self.shorter * width // shortest


def open_image(image: ImageLike, least: Least | None = None) -> "Image":
    """Decodes an image, upright, to Pillow's mode "L" if it is grey, and to "RGB" otherwise.

    Args:
        image: As for `ImageReader`.
        least: Takes the height and width of the upright image, and returns the least that are needed: a JPEG is decoded
            at 1/2, 1/4 or 1/8 of its size if that is enough. It is called once. Default: the full size is decoded.

    Raises:
        BadImage: If it cannot be decoded.
        OSError: If a file cannot be read.
    """
    pillow = _pillow()
    if isinstance(image, pillow.Image):
        return _decode(nullcontext(image), least)
    if isinstance(image, np.ndarray):
        return _decode(nullcontext(pillow.fromarray(_check_pixels(image))), least)
    if isinstance(image, (bytes, bytearray, memoryview)):
        return _open_file(io.BytesIO(image), least)
    if isinstance(image, (str, os.PathLike)):
        with open(image, "rb") as file:
            return _open_file(file, least)
    raise ValueError(
        f"Expected an image as a path, the bytes of a file, a Pillow image or an array. "
        f"Received: {type(image).__name__}"
    )


def check_size(name: str, size: Any) -> tuple[int, int]:
    """Returns height and width, or raises a ValueError that names the argument."""
    pair = isinstance(size, (tuple, list)) and len(size) == 2
    if not pair or not all(_is_whole(side) and side >= 1 for side in size):
        raise ValueError(f"Expected {name} to be (height, width) in pixels. Received: {name}={size!r}")
    return size[0], size[1]


def _open_file(file: BinaryIO, least: Least | None) -> "Image":
    if not file.read(1):
        raise BadImage("empty file")
    file.seek(0)
    pillow = _pillow()
    try:
        opened = pillow.open(file, formats=FORMATS)
    except pillow.UnidentifiedImageError:
        raise BadImage("not an image, or in an unknown format") from None
    except Exception as error:
        raise _bad(error) from None
    return _decode(opened, least)


def _decode(opening: "AbstractContextManager[Image]", least: Least | None) -> "Image":
    from PIL import ImageOps

    try:
        with opening as image:
            if image.width * image.height > _MOST_PIXELS:
                raise BadImage(f"{image.width}x{image.height} pixels, more than {_MOST_PIXELS:,}")
            # The rotation of other formats may only be known once they are decoded.
            early = least is not None and image.format == "JPEG"
            if early:
                _draft(image, least)  # type: ignore[arg-type]
            image.load()
            # exif_transpose would copy even an image that is upright.
            turned = image.getexif().get(_ORIENTATION, 1) != 1
            upright = _to_eight_bits(ImageOps.exif_transpose(image) if turned else image)
    except (BadImage, MemoryError):
        raise
    except Exception as error:
        raise _bad(error) from None
    if least is not None and not early:
        least(upright.height, upright.width)
    return upright


def _draft(image: "Image", least: Least) -> None:
    """Makes Pillow decode a JPEG at the smallest scale that is enough."""
    turned = image.getexif().get(_ORIENTATION, 1) in _ON_ITS_SIDE
    sides = (image.width, image.height) if turned else (image.height, image.width)
    height, width = least(*sides)
    image.draft(None, (height, width) if turned else (width, height))


def _bad(error: Exception) -> BadImage:
    """A damaged file can make a decoder raise anything."""
    return BadImage(str(error) or type(error).__name__)


def _check_pixels(pixels: np.ndarray) -> np.ndarray:
    channels = pixels.shape[2:]
    if (
        pixels.dtype != np.uint8
        or pixels.size == 0
        or pixels.ndim not in (2, 3)
        or channels not in ((), (1,), (3,), (4,))
    ):
        raise ValueError(
            f"Expected an image as uint8 (height, width) or (height, width, 1, 3 or 4). "
            f"Received: {pixels.dtype} of shape {pixels.shape}"
        )
    return pixels[..., 0] if channels == (1,) else pixels


def _to_eight_bits(image: "Image") -> "Image":
    """Converts the image to mode L or RGB."""
    pillow = _pillow()
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        wide = np.asarray(image).astype("uint32")
        return pillow.fromarray(((wide * 255 + 32767) // 65535).astype("uint8"))
    if image.mode in ("I", "F"):
        raise BadImage(f"pixels of 32 bits (mode {image.mode}), whose range is not known")
    if image.has_transparency_data:
        grey = image.mode in (*_GREY, "LA", "La")
        image = image.convert("RGBA")
        white = pillow.new("RGBA", image.size, "white")
        return pillow.alpha_composite(white, image).convert("L" if grey else "RGB")
    return in_mode(image, "L" if image.mode in _GREY else "RGB")


def in_mode(image: "Image", mode: str) -> "Image":
    """Converts an image to a mode; `convert` would copy one that has it already."""
    return image if image.mode == mode else image.convert(mode)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _pillow() -> Any:
    """Pillow's module Image."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(f"Reading images needs Pillow: pip install pillow ({error})") from None
    return Image
