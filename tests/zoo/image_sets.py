"""Folders and archives of random images, written with Pillow, tarfile and zipfile."""

import io
import tarfile
import zipfile

import numpy as np
from PIL import Image

import zoo

SHAPE = (6, 5, 3)


def pixels(seed, shape=SHAPE):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype="uint8")


def encode(image, form="PNG", **options):
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def data_set(*parts, classes=("cat", "dog"), each=5):
    """Names and contents of image files; each image is random with its own seed."""
    names = [f"{part}{name}/{number}.png" for part in parts or ("",) for name in classes for number in range(each)]
    return {name: encode(pixels(seed)) for seed, name in enumerate(names)}


def as_folder(path, contents):
    for name, data in contents.items():
        file = path / "images" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return path / "images"


def as_tar(path, contents, suffix=".tar"):
    target = path / f"images{suffix}"
    with tarfile.open(target, "w:" + suffix[5:]) as archive:
        for name, data in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return target


def as_zip(path, contents):
    target = path / "images.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    return target


FORMS = {
    "folder": as_folder,
    "tar": as_tar,
    "tar.gz": lambda path, contents: as_tar(path, contents, ".tar.gz"),
    "tar.xz": lambda path, contents: as_tar(path, contents, ".tar.xz"),
    "zip": as_zip,
}


def load(path, **options):
    return zoo.load_source(path, cache=False, **options)
