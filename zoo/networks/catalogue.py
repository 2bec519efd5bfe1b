"""The table of all networks: one row each, by family. It is data alone; nothing is imported or built to read it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

RESNET = "He et al. 2015, Deep Residual Learning for Image Recognition, arXiv 1512.03385"
STOCHASTIC = "Huang et al. 2016, Deep Networks with Stochastic Depth, arXiv 1603.09382"
PREACTIVATION = "He et al. 2016, Identity Mappings in Deep Residual Networks, arXiv 1603.05027"
WIDE = "Zagoruyko & Komodakis 2016, Wide Residual Networks, arXiv 1605.07146"
HIGHWAY = "Srivastava et al. 2015, Highway Networks, arXiv 1505.00387"
VERY_DEEP = "Srivastava et al. 2015, Training Very Deep Networks, arXiv 1507.06228"
DENSENET = "Huang et al. 2017, Densely Connected Convolutional Networks, arXiv 1608.06993"


@dataclass(frozen=True)
class Entry:
    """What is known of a network without building it; the builder is "module:function" inside `zoo.networks`."""

    name: str
    builder: str
    summary: str
    arguments: dict[str, Any]
    paper: str = ""
    paper_error: str = ""
    input_shape: tuple[int, int, int] = (32, 32, 3)
    classes: int = 10


# Name, arguments of the builder (the depth among them), what the paper reports.
Row = tuple[str, dict[str, Any], str]


def _family(builder: str, summary: str, paper: str, rows: Iterable[Row], **options: Any) -> list[Entry]:
    """Entries that differ in name, arguments and error alone; `options` are the other fields of `Entry`."""
    return [Entry(name, builder, summary, arguments, paper, error, **options) for name, arguments, error in rows]


def _mlp(name: str, summary: str, paper: str = "") -> Entry:
    return Entry(name, f"mlp:{name}", summary, {"depth": 12}, paper, input_shape=(8, 8, 1))


_MLPS = [
    _mlp("plain_mlp", "12 dense layers without skip connections"),
    _mlp("residual_mlp", "the same layers in residual blocks of two", RESNET),
    _mlp("highway_mlp", "the same layers with gates", HIGHWAY),
    _mlp("dense_mlp", "the same layers, each seeing all before it", DENSENET),
]

_RESIDUAL = [
    *_family(
        "resnet:cifar_resnet",
        "residual network for small images, parameter-free shortcuts",
        RESNET,
        [
            ("resnet20", {"depth": 20}, "8.75 % on CIFAR-10"),
            ("resnet32", {"depth": 32}, "7.51 % on CIFAR-10"),
            ("resnet44", {"depth": 44}, "7.17 % on CIFAR-10"),
            ("resnet56", {"depth": 56}, "6.97 % on CIFAR-10"),
            ("resnet110", {"depth": 110}, "6.43 % on CIFAR-10 at best, 6.61 ± 0.16 %"),
            ("resnet1202", {"depth": 1202}, "7.93 % on CIFAR-10"),
        ],
    ),
    *_family(
        "resnet:plain",
        "the residual network's convolutions without its skips",
        RESNET,
        [(f"plain{depth}", {"depth": depth}, "") for depth in (20, 32, 44, 56)],
    ),
    *_family(
        "resnet:stochastic_resnet",
        "residual network whose blocks drop out in training",
        STOCHASTIC,
        [
            ("stochastic_resnet32", {"depth": 32}, ""),
            ("stochastic_resnet110", {"depth": 110}, "5.23 % on CIFAR-10, 24.58 % on CIFAR-100"),
            ("stochastic_resnet1202", {"depth": 1202}, "4.91 % on CIFAR-10"),
        ],
    ),
    *_family(
        "preactivation:preact_resnet",
        "pre-activation residual network for small images",
        PREACTIVATION,
        [
            ("preact_resnet20", {"depth": 20, "bottleneck": False, "shortcut": "pad"}, ""),
            ("preact_resnet110", {"depth": 110, "bottleneck": False, "shortcut": "pad"}, "6.37 % on CIFAR-10"),
            ("preact_resnet164", {"depth": 164}, "5.46 % on CIFAR-10, 24.33 % on CIFAR-100"),
            ("preact_resnet1001", {"depth": 1001}, "4.92 % on CIFAR-10 (4.62 % at batch 64), 22.71 % on CIFAR-100"),
        ],
    ),
    *_family(
        "wide:wide_resnet",
        "wide residual network for small images",
        WIDE,
        [
            ("wrn_16_2", {"depth": 16, "width": 2}, ""),
            ("wrn_16_4", {"depth": 16, "width": 4}, ""),
            ("wrn_16_8", {"depth": 16, "width": 8}, "4.27 % on CIFAR-10, 20.43 % on CIFAR-100"),
            ("wrn_40_4", {"depth": 40, "width": 4}, "4.53 % on CIFAR-10, 21.18 % on CIFAR-100"),
            (
                "wrn_28_10",
                {"depth": 28, "width": 10},
                "4.00 % on CIFAR-10, 19.25 % on CIFAR-100; with dropout 0.3: 3.89 % and 18.85 %",
            ),
        ],
    ),
]

_BC = {"bottleneck": True, "compression": 0.5}

_DENSENETS = [
    *_family(
        "densenet:cifar_densenet",
        "densely connected network for small images",
        DENSENET,
        [
            ("densenet_40_12", {"depth": 40, "growth_rate": 12}, "5.24 % on CIFAR-10, 24.42 % on CIFAR-100"),
            ("densenet_100_12", {"depth": 100, "growth_rate": 12}, "4.10 % on CIFAR-10, 20.20 % on CIFAR-100"),
        ],
    ),
    *_family(
        "densenet:cifar_densenet",
        "densely connected network with bottlenecks and compression",
        DENSENET,
        [
            ("densenet_bc_100_12", {"depth": 100, "growth_rate": 12} | _BC, "4.51 % on CIFAR-10, 22.27 % on CIFAR-100"),
            ("densenet_bc_250_24", {"depth": 250, "growth_rate": 24} | _BC, "3.62 % on CIFAR-10, 17.60 % on CIFAR-100"),
            ("densenet_bc_190_40", {"depth": 190, "growth_rate": 40} | _BC, "3.46 % on CIFAR-10, 17.18 % on CIFAR-100"),
        ],
    ),
]


def _carried(rows: list[Row]) -> list[Row]:
    """Each row, and its twin with a carry gate of its own, of which the paper says nothing."""
    return [*rows, *((f"{name}_carry", arguments | {"carry": "learned"}, "") for name, arguments, _ in rows)]


_HIGHWAYS = [
    *_family(
        "highway:highway_cifar",
        "highway network of convolutions for small images",
        VERY_DEEP,
        _carried(
            [
                ("highway11", {"depth": 11}, "10.82 % on CIFAR-10"),
                ("highway19", {"depth": 19}, "7.54 % on CIFAR-10 at best, 7.72 ± 0.16 %"),
                ("highway32", {"depth": 32}, "8.80 % on CIFAR-10"),
            ]
        ),
    ),
    *_family(
        "highway:highway_mnist",
        "highway network of convolutions for digits",
        VERY_DEEP,
        _carried(
            [
                ("highway_mnist_16", {"depth": 10, "width": 16}, "0.57 % on MNIST"),
                ("highway_mnist_32", {"depth": 10, "width": 32}, "0.45 % on MNIST"),
            ]
        ),
        input_shape=(28, 28, 1),
    ),
]

_IMAGENET: dict[str, Any] = {"input_shape": (224, 224, 3), "classes": 1000}
_TEN_CROPS = {
    depth: f"{error} % top-1 on ImageNet, ten crops" for depth, error in ((50, 22.9), (101, 21.8), (152, 21.4))
}

_IMAGENETS = [
    *_family(
        "imagenet_resnet:imagenet_resnet",
        "residual network for ImageNet, in torchvision's form",
        RESNET,
        [
            ("resnet18", {"depth": 18}, ""),
            ("resnet34", {"depth": 34}, ""),
            # The paper strides the first 1x1.
            *((f"resnet{depth}", {"depth": depth}, f"{error}, other strides") for depth, error in _TEN_CROPS.items()),
        ],
        **_IMAGENET,
    ),
    *_family(
        "imagenet_resnet:imagenet_resnet",
        "wide residual network for ImageNet, in torchvision's form",
        WIDE,
        [("wide_resnet50_2", {"depth": 50, "widening": 2}, "21.9 % top-1 on ImageNet, one crop (the authors' code)")],
        **_IMAGENET,
    ),
    *_family(
        "imagenet_resnet:applications_resnet",
        "residual network for ImageNet, in the form of keras.applications",
        RESNET,
        [(f"resnet{depth}_keras", {"depth": depth}, error) for depth, error in _TEN_CROPS.items()],
        **_IMAGENET,
    ),
    *_family(
        "imagenet_resnet:applications_resnet_v2",
        "pre-activation residual network for ImageNet, in the form of keras.applications",
        PREACTIVATION,
        [(f"resnet{depth}_v2", {"depth": depth}, "") for depth in (50, 101, 152)],
        **_IMAGENET,
    ),
    *_family(
        "imagenet_densenet:imagenet_densenet",
        "densely connected network for ImageNet",
        DENSENET,
        [
            ("densenet121", {"depth": 121}, "25.0 % top-1 on ImageNet, one crop (the authors' code)"),
            ("densenet169", {"depth": 169}, "23.6 % top-1 on ImageNet, one crop (the authors' code)"),
            ("densenet201", {"depth": 201}, "22.5 % top-1 on ImageNet, one crop (the authors' code)"),
        ],
        **_IMAGENET,
    ),
]

MODELS: dict[str, Entry] = {entry.name: entry for entry in (*_MLPS, *_RESIDUAL, *_DENSENETS, *_HIGHWAYS, *_IMAGENETS)}
