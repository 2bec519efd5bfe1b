"""Images in HTML, with their captions."""

import base64
import html
import io

import numpy as np

from ...data import Source


def are_images(source: Source) -> bool:
    """Whether the inputs of a source can be shown."""
    return source.train_inputs.ndim == 4 and source.train_inputs.dtype == np.uint8


def to_colours(pixels: np.ndarray, source: Source) -> np.ndarray:
    """Stretches the pixels of an image to 255, and repeats a grey one for each colour."""
    brightest = 255 if source.image else 1 / source.preprocessing.scale
    scaled = np.clip(pixels.astype("float32") * (255 / brightest), 0, 255).astype("uint8")
    return scaled if scaled.shape[-1] == 3 else np.repeat(scaled[..., :1], 3, axis=-1)


def figure(colours: np.ndarray, caption: str) -> str:
    """Writes an image, uint8 (height, width, 3), over its caption."""
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, colours, format="png")
    data, text = base64.b64encode(buffer.getvalue()).decode(), html.escape(caption)
    return f'<figure><img src="data:image/png;base64,{data}" alt="{text}"><figcaption>{text}</figcaption></figure>'
