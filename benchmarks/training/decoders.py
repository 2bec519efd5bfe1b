"""Compares decoders of JPEG: a random box of each photo, resized to 224 pixels, on one core.

    python -m benchmarks.training.decoders [--photos 100] [--rounds 5]

The photos have 300 to 600 pixels and quality 90 (photos.py). The figures are milliseconds of processor time for each
photo: minimum, median and maximum over the rounds, in which the decoders take turns. Decoders that are not installed
are left out: simplejpeg, opencv-python-headless, pyvips[binary]. The interpolation of those marked * has no
antialiasing. At the end it says whether simplejpeg and OpenCV decode to Pillow's pixels.
"""

import argparse
import io
import math
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from ..harness import alternate, format_spread, parse_options, spread, write_result
from .photos import AREA, RATIO, SIZE, list_photos, make_photos


def needed(box, height, width):
    """The height and width from which the box still has the size of the result."""
    return math.ceil(SIZE * height / box[2]), math.ceil(SIZE * width / box[3])


def scaled(box, down, across):
    top, left, tall, wide = box
    return left * across, top * down, (left + wide) * across, (top + tall) * down


def with_pillow(data, box):
    image = Image.open(io.BytesIO(data))
    width, height = image.size
    image.draft("RGB", needed(box, height, width)[::-1])
    edges = scaled(box, image.height / height, image.width / width)
    return np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR, edges))


def decode_with_simplejpeg(data, box):
    import simplejpeg

    height, width, *_ = simplejpeg.decode_jpeg_header(data)
    tall, wide = needed(box, height, width)
    pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=tall, min_width=wide, min_factor=2)
    return pixels, scaled(box, pixels.shape[0] / height, pixels.shape[1] / width)


def with_simplejpeg(data, box):
    pixels, edges = decode_with_simplejpeg(data, box)
    return np.asarray(Image.fromarray(pixels).resize((SIZE, SIZE), Image.Resampling.BILINEAR, edges))


def with_simplejpeg_and_opencv(data, box):
    import cv2

    pixels, edges = decode_with_simplejpeg(data, box)
    left, top, right, bottom = map(int, edges)
    return cv2.resize(pixels[top:bottom, left:right], (SIZE, SIZE))


def with_opencv(data, box):
    import cv2

    top, left, tall, wide = box
    pixels = cv2.imdecode(np.frombuffer(data, "uint8"), cv2.IMREAD_COLOR_RGB)
    return cv2.resize(pixels[top : top + tall, left : left + wide], (SIZE, SIZE))


def with_pyvips(data, box):
    import pyvips

    top, left, tall, wide = box
    image = pyvips.Image.new_from_buffer(data, "", access="sequential").crop(left, top, wide, tall)
    return image.thumbnail_image(SIZE, height=SIZE, size="force").numpy()


def with_tensorflow(antialias):
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    @tf.function(input_signature=[tf.TensorSpec((), tf.string), tf.TensorSpec(4, tf.int32)])
    def read(data, box):
        return tf.image.resize(tf.io.decode_and_crop_jpeg(data, box, channels=3), (SIZE, SIZE), antialias=antialias)

    return lambda data, box: read(data, box).numpy()


DECODERS = {
    "Pillow": ("PIL", lambda: with_pillow),
    "simplejpeg, Pillow": ("simplejpeg", lambda: with_simplejpeg),
    "simplejpeg, OpenCV *": ("simplejpeg", lambda: with_simplejpeg_and_opencv),
    "OpenCV *": ("cv2", lambda: with_opencv),
    "pyvips": ("pyvips", lambda: with_pyvips),
    "tf.io.decode_and_crop_jpeg *": ("tensorflow", lambda: with_tensorflow(False)),
    "tf.io.decode_and_crop_jpeg": ("tensorflow", lambda: with_tensorflow(True)),
}


def same_pixels(files):
    """Whether the decoders that are installed give Pillow's pixels."""
    found = {}
    expected = [np.asarray(Image.open(io.BytesIO(data))) for data in files]
    if find_spec("simplejpeg"):
        import simplejpeg

        decoded = [simplejpeg.decode_jpeg(data, "RGB") for data in files]
        found["simplejpeg"] = all(map(np.array_equal, decoded, expected))
    if find_spec("cv2"):
        import cv2

        cv2.setNumThreads(1)
        decoded = [cv2.imdecode(np.frombuffer(data, "uint8"), cv2.IMREAD_COLOR_RGB) for data in files]
        found["OpenCV"] = all(map(np.array_equal, decoded, expected))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    options = parse_options(parser)
    from zoo.data.augmentation.boxes import crop_box

    with tempfile.TemporaryDirectory() as folder:
        make_photos(folder, options.photos)
        files = [Path(path).read_bytes() for path in list_photos(folder)[0]]
    sides = [Image.open(io.BytesIO(data)).size for data in files]
    draws = np.random.default_rng(0).random((len(files), 22))
    boxes = [crop_box(row, height, width, AREA, RATIO) for row, (width, height) in zip(draws, sides, strict=True)]
    same = same_pixels(files)

    def time_all(read):
        start = time.process_time()
        for data, box in zip(files, boxes, strict=True):
            assert read(data, box).shape == (SIZE, SIZE, 3)
        return 1000 * (time.process_time() - start) / len(files)

    readers = {name: make() for name, (package, make) in DECODERS.items() if find_spec(package)}
    for read in readers.values():
        time_all(read)
    times = alternate({name: lambda read=read: time_all(read) for name, read in readers.items()}, options.rounds)
    for name, found in times.items():
        print(f"{name:30} {format_spread(spread(found))} ms")
    print("Pillow's pixels:", same)
    if options.json:
        figures = {"milliseconds": {name: spread(found) for name, found in times.items()}, "same pixels": same}
        write_result(options.json, {"photos": options.photos, "rounds": options.rounds}, figures)


if __name__ == "__main__":
    main()
