"""Decodes image files to 8-bit pixels.

The rotation in EXIF is applied; palettes and CMYK become RGB; 16 bits are scaled to 8; transparent pixels show white;
an animation gives its first frame. The contents of a file decide its format, not its suffix.
"""

import io

import numpy as np
from PIL import Image, ImageOps

SUFFIXES = frozenset(
    (".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp")
)
# Pillow knows more formats, but some of them run other programs.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_MOST_PIXELS = 2**26
_GREY = ("1", "L")


class BadImage(ValueError):
    """A file cannot be decoded; the message is only the cause."""


def decode(data: bytes, size: tuple[int, int] | None = None) -> np.ndarray:
    """Decodes an image to uint8 pixels, (height, width, 1 or 3).

    Args:
        data: The contents of the file.
        size: Height and width to resize to, by bicubic interpolation with antialiasing; proportions may change.

    Raises:
        BadImage: If it cannot be read.
    """
    if not data:
        raise BadImage("empty file")
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if image.width * image.height > _MOST_PIXELS:
                raise BadImage(f"{image.width}x{image.height} pixels, more than {_MOST_PIXELS:,}")
            image.load()
            return _to_pixels(_to_eight_bits(ImageOps.exif_transpose(image)), size)
    except (BadImage, MemoryError):
        raise
    except Image.UnidentifiedImageError:
        raise BadImage("no image, or of a format that is not known") from None
    except Exception as error:  # a damaged file can make a decoder raise anything
        raise BadImage(str(error) or type(error).__name__) from None


def resize(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes images from `decode`; images that have the size already are returned as they are."""
    if images.shape[1:3] == size:
        return images
    return np.stack(
        [_to_pixels(Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image), size) for image in images]
    )


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Converts the image to mode L or RGB."""
    if image.mode.startswith("I;16"):
        wide = np.asarray(image).astype("uint32")
        return Image.fromarray(((wide * 255 + 32767) // 65535).astype("uint8"))
    if image.mode in ("I", "F"):
        raise BadImage(f"pixels of 32 bits (mode {image.mode}), whose range is not known")
    if image.has_transparency_data:
        grey = image.mode in (*_GREY, "LA", "La")
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("L" if grey else "RGB")
    return image.convert("L" if image.mode in _GREY else "RGB")


def _to_pixels(image: Image.Image, size: tuple[int, int] | None) -> np.ndarray:
    if size is not None and (image.height, image.width) != size:
        image = image.resize(size[::-1], Image.Resampling.BICUBIC)
    pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels
