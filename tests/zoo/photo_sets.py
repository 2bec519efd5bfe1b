"""Photos as real files of several kinds, and shards of them, written with Pillow and tarfile."""

import io
import tarfile

import numpy as np
from PIL import Image, ImageOps

from tests.zoo.image_sets import encode


def photo(seed, height=40, width=56):
    """A smooth image in colours, as photos are, so that JPEG keeps it well."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype="uint8")
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def turned(image, orientation=6, form="JPEG"):
    """A file that asks to be turned when it is shown."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(image, form, exif=exif)


def odd_photos():
    """Files of all kinds that cameras and editors write, by name."""
    return {
        "plain.jpg": encode(photo(0), "JPEG", quality=95),
        "turned.jpg": turned(photo(1)),
        "mirrored.png": turned(photo(2), 2, "PNG"),
        "cmyk.jpg": encode(photo(3).convert("CMYK"), "JPEG"),
        "grey.jpg": encode(photo(4).convert("L"), "JPEG"),
        "palette.png": encode(photo(5).convert("P"), "PNG"),
        "progressive.jpeg": encode(photo(6, 90, 70), "JPEG", progressive=True),
        "small.webp": encode(photo(7, 20, 20), "WEBP", lossless=True),
    }


def by_hand(data, size=None, shorter=None):
    """What Pillow makes of a file: upright, RGB, the shorter side resized, and the centre cropped."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    if size is not None:
        shorter = shorter or size
        scale = shorter / min(image.size)
        image = image.resize([int(side * scale + 1e-9) for side in image.size], Image.Resampling.BICUBIC)
        left, top = (round((side - size) / 2) for side in image.size)
        image = image.crop((left, top, left + size, top + size))
    return np.asarray(image)


def write_tar(path, members, form=tarfile.PAX_FORMAT, mtime=0):
    """Writes (name, contents) pairs, of which a name may come twice."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(data), mtime
            archive.addfile(member, io.BytesIO(data))
    return path


def labelled(count, first=0, classes=("cat", "dog"), suffix=".cls"):
    """The members of a shard in the layout of webdataset."""
    for number in range(first, first + count):
        yield f"{number:04d}.jpg", encode(photo(number), "JPEG")
        yield f"{number:04d}{suffix}", str(classes[number % len(classes)]).encode()


def as_class_folders(path, parts=("train", "val"), each=4, kind=".jpg"):
    """A folder of photos in class folders; returns the contents of the files by name."""
    names = [f"{part}/{name}/{n}{kind}" for part in parts for name in ("cat", "dog") for n in range(each)]
    contents = {name: encode(photo(seed), "JPEG" if kind == ".jpg" else "PNG") for seed, name in enumerate(names)}
    for name, data in contents.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return contents
