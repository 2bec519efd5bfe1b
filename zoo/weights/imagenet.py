"""How images of ImageNet become the inputs of networks that others trained on them, and the names of its classes.

All records are plain data: those of preprocessing for `zoo.Preprocessing.from_dict`, and those of readers for
`export.ImageReader.from_dict`.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Record = Mapping[str, Any]

# The modes of keras.applications: "caffe" for the first residual networks, "tf" for their second version, "torch".
CAFFE: Record = {
    "scale": 1.0,
    "mean": (103.939, 116.779, 123.68),
    "std": (1.0, 1.0, 1.0),
    "reverse_channels": True,
}
SYMMETRIC: Record = {"scale": 1 / 127.5, "mean": (1.0, 1.0, 1.0), "std": (1.0, 1.0, 1.0)}
TORCH: Record = {"scale": 1 / 255, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}

_CLASSES = Path(__file__).with_name("imagenet_classes.txt")
# The files of torchvision whose shorter side before the crop is not 256.
_SHORTER = {
    "convnext_tiny-983f1562": 236,
    "convnext_small-0c510722": 230,
    "convnext_base-6075fbad": 232,
    "resnet50-11ad3fa6": 232,
    "resnet101-cd907fc2": 232,
    "resnet152-f82ba261": 232,
    "resnext50_32x4d-1a0047aa": 232,
    "resnext101_32x8d-110c445d": 232,
    "resnext101_64x4d-173b62eb": 232,
    "wide_resnet50_2-9ba9bcbe": 232,
    "wide_resnet101_2-d733dc28": 232,
}


def crop_reader(size: int = 224, shorter: int = 256, interpolation: str = "bilinear") -> Record:
    """The record of a reader that crops a square; by default as accuracies on ImageNet are mostly measured."""
    return {"size": (size, size), "channels": 3, "shorter": shorter, "interpolation": interpolation}


def torch_reader(file: Path, library: str) -> Record:
    """The record of the reader for a file of torchvision, by its name, or of most files of torchvision or timm."""
    shorter = _SHORTER.get(file.name.partition(".")[0], 256)
    return crop_reader(shorter=shorter, interpolation="bicubic" if library == "timm" else "bilinear")


def timm_records(config: Record) -> tuple[Record, Record]:
    """The records of preprocessing and reader in the `pretrained_cfg` of a config.json of timm.

    timm resizes the shorter side to size / crop_pct, rounded down, or for "squash" both sides, and crops the centre.

    Raises:
        ValueError: If it describes another way.
    """
    _, height, width = config["input_size"]
    share, mode = config.get("crop_pct", 0.875), config.get("crop_mode", "center")
    if height != width or mode not in ("center", "squash") or (mode == "squash" and share != 1):
        raise ValueError(f"input_size={config['input_size']}, crop_pct={share} and crop_mode={mode!r}")
    preprocessing = {"scale": 1 / 255, "mean": tuple(config["mean"]), "std": tuple(config["std"])}
    reader = crop_reader(height, int(height / share), config["interpolation"])
    if mode == "squash":
        reader = {**reader, "shorter": None, "resize": "stretch"}
    return preprocessing, reader


@functools.cache
def class_names() -> tuple[str, ...]:
    """The names of the 1000 classes, in the order of the outputs of a network."""
    lines = _CLASSES.read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if not line.startswith("#"))
