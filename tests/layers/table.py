"""One table of all layers. Every contract is tested on every row; a new layer is a new row."""

from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import pytest

import keras_skip as ks
from keras_skip._base.config import argument_names
from keras_skip.gates import GATES
from tests.layers import inside
from tests.sweep import sweep

CELLS = {ks.RecurrentHighway: ks.RecurrentHighwayCell}
WITHOUT_ROWS = {*GATES.values(), *CELLS.values()}
SHAPES = {0: (6,), 1: (9, 6), 2: (7, 5, 6), 3: (4, 5, 3, 6)}


@dataclass(frozen=True)
class Case:
    """A layer class, arguments for it, and of its input the spatial rank and the number of streams, if it has any."""

    name: str
    cls: type
    kwargs: dict[str, Any] = field(default_factory=dict)
    rank: int = 2
    streams: int | None = None

    def make(self, **more: Any) -> keras.layers.Layer:
        kwargs = {
            key: value() if callable(value) and key in ("layer", "shortcut") else value
            for key, value in self.kwargs.items()
        }
        return self.cls(**{**kwargs, **more})

    def shape(self, batch: int | None = 2, data_format: str = "channels_last") -> tuple:
        *spatial, channels = SHAPES[self.rank]
        last = (channels,) if self.streams is None else (self.streams, channels)
        return (batch, *last, *spatial) if data_format == "channels_first" else (batch, *spatial, *last)

    def data(self, batch: int = 2, data_format: str = "channels_last", seed: int = 0) -> np.ndarray:
        return np.random.default_rng(seed).normal(size=self.shape(batch, data_format)).astype("float32")

    @property
    def takes_data_format(self) -> bool:
        """Whether the row works with either, and only its channels move; a dense layer of the user's does not."""
        is_for_streams = self.cls in (ks.ExpandStreams, ks.ReduceStreams)
        return "data_format" in argument_names(self.cls) and "layer" not in self.kwargs and not is_for_streams

    @property
    def public(self) -> type:
        """The public class: that of the row, or of which it is a form for one tensor."""
        return next(cls for cls in self.cls.__mro__ if cls.__name__ in ks.__all__)

    @property
    def classes(self) -> set[type]:
        """The row's class, and that of its gate or cell: these take two inputs, so they have no rows of their own."""
        gates = {GATES[self.kwargs["gate"]]} if "gate" in self.kwargs else set()
        return {self.public, *gates, *({CELLS[self.cls]} if self.cls in CELLS else ())}


def _all_ranks(
    name: str, cls: type, kwargs: dict[str, Any] | None = None, strides: bool = False, streams: int | None = None
) -> list[Case]:
    cases = []
    for rank in SHAPES:
        extra = {"strides": 2} if strides and rank else {}
        cases.append(Case(f"{name}-{rank}d", cls, {**(kwargs or {}), **extra}, rank, streams))
    return cases


CASES = [
    *_all_ranks("normalization", ks.BatchNormalization),
    *_all_ranks("residual", ks.ResidualBlock, {"filters": 6}),
    *_all_ranks("residual-strided", ks.ResidualBlock, {"filters": 8}, strides=True),
    *_all_ranks("bottleneck", ks.BottleneckBlock, {"filters": 8}, strides=True),
    *_all_ranks("preactivation", ks.PreActivationBlock, {"filters": 8}, strides=True),
    *_all_ranks("preactivation-bottleneck", ks.PreActivationBottleneckBlock, {"filters": 8, "ratio": 2}),
    *_all_ranks("wide", ks.WideBlock, {"filters": 8}),
    *_all_ranks("highway", ks.HighwayBlock),
    *_all_ranks("dense", ks.DenseBlock, {"num_layers": 2, "growth_rate": 3}),
    *_all_ranks("transition", ks.TransitionBlock),
    *_all_ranks("stochastic-depth-block", ks.StochasticDepthBlock, {"filters": 8}, strides=True),
    *_all_ranks("drop-path", ks.DropPath, {"rate": 0.5}),
    *_all_ranks("layer-scale", ks.LayerScale, {"init": 0.1}),
    *_all_ranks("squeeze-excite", ks.SqueezeExcite, {"ratio": 3}),
    *_all_ranks("channel-attention", ks.EfficientChannelAttention),
    *_all_ranks("gated-residual", ks.GatedResidualNetwork, {"units": 8, "output_units": 4}),
    Case("gated-residual-identity", ks.GatedResidualNetwork, {"units": 6, "dropout": 0.2}, rank=1),
    Case("gated-residual-batch", ks.GatedResidualNetwork, {"units": 6, "normalization": "batch", "activation": "gelu"}),
    Case("recurrent-highway", ks.RecurrentHighway, {"units": 5}, rank=1),
    Case(
        "recurrent-highway-sequence",
        ks.RecurrentHighway,
        {"units": 6, "depth": 2, "carry": "coupled", "return_sequences": True, "go_backwards": True},
        rank=1,
    ),
    Case(
        "recurrent-highway-dropped",
        ks.RecurrentHighway,
        {"units": 5, "dropout": 0.2, "recurrent_dropout": 0.3, "unroll": True},
        rank=1,
    ),
    *_all_ranks("depth-average", inside.AverageOfOneTensor),
    *_all_ranks("depth-attention", inside.AttentionOfOneTensor),
    Case(
        "squeeze-excite-hard", ks.SqueezeExcite, {"width": 2, "activation": "silu", "gate_activation": "hard_sigmoid"}
    ),
    Case("depth-average-dilated", inside.AverageOfOneTensor, {"dilation": 2, "period": 2}),
    Case("depth-average-pruned", inside.AverageOfOneTensor, {"kept": [0, 3, 7]}, rank=1),
    Case("depth-attention-blocks", inside.AttentionOfOneTensor, {"block_size": 2, "reduction": "mean"}),
    Case("layer-scale-scalar", ks.LayerScale, {"init": 0.5, "axis": None}),
    Case("residual-pad", ks.ResidualBlock, {"filters": 8, "strides": 2, "shortcut": "pad"}),
    Case("residual-pad-unstrided", ks.ResidualBlock, {"filters": 8, "shortcut": "pad"}),
    Case("residual-pad-sequence", ks.ResidualBlock, {"filters": 8, "strides": 2, "shortcut": "pad"}, rank=1),
    Case("residual-layer", ks.ResidualBlock, {"filters": 8, "strides": 2, "shortcut": inside.conv_shortcut}),
    Case(
        "residual-symmetric",
        ks.ResidualBlock,
        {"filters": 8, "strides": 2, "padding": "symmetric", "kernel_size": (3, 5)},
    ),
    Case("residual-dilated", ks.ResidualBlock, {"filters": 6, "dilation_rate": 2, "dropout": 0.2}),
    Case("residual-causal", ks.ResidualBlock, {"filters": 6, "padding": "causal", "dilation_rate": 2}, rank=1),
    Case("residual-group-norm", ks.ResidualBlock, {"filters": 8, "normalization": keras.layers.GroupNormalization(2)}),
    Case("dense-group", ks.DenseBlock, {"num_layers": 2, "growth_rate": 3, "normalization": "group"}),
    Case("residual-own-norm", ks.ResidualBlock, {"filters": 8, "normalization": keras.layers.BatchNormalization()}),
    Case(
        "dense-layer-norm",
        ks.DenseBlock,
        {"num_layers": 2, "growth_rate": 3, "normalization": keras.layers.LayerNormalization()},
    ),
    Case(
        "residual-no-norm",
        ks.ResidualBlock,
        {"filters": 6, "normalization": None, "use_bias": True, "activation": "silu"},
    ),
    Case("residual-groups", ks.ResidualBlock, {"filters": 8, "strides": 2, "groups": 2}),
    Case("dense-groups", ks.DenseBlock, {"num_layers": 2, "growth_rate": 4, "groups": 2}, rank=1),
    Case(
        "bottleneck-resnext",
        ks.BottleneckBlock,
        {"filters": 8, "strides": 2, "width": 6, "groups": 3, "downsample": "pool"},
    ),
    Case(
        "residual-pool-pad", ks.ResidualBlock, {"filters": 8, "strides": 2, "shortcut": "pad", "downsample": "pool"}, 1
    ),
    Case("preactivation-blur", ks.PreActivationBlock, {"filters": 8, "strides": 2, "downsample": "blur"}),
    Case("blur", ks.BlurPool),
    Case("blur-volume", ks.BlurPool, {"strides": (2, 1, 3)}, rank=3),
    Case(
        "residual-prelu",
        ks.ResidualBlock,
        {"filters": 8, "activation": keras.layers.PReLU(shared_axes=[1, 2, 3]), "survival_prob": 0.5},
    ),
    Case("residual-zero-gamma", ks.ResidualBlock, {"filters": 6, "zero_init_gamma": True}),
    Case(
        "bottleneck-first",
        ks.BottleneckBlock,
        {"filters": 8, "strides": 2, "stride_position": "first", "use_bias": True},
    ),
    Case("bottleneck-biases", ks.BottleneckBlock, {"filters": 8, "use_bias": (False, True, True)}),
    Case("preactivation-raw-shortcut", ks.PreActivationBlock, {"filters": 8, "preactivate_shortcut": False}),
    Case("preactivation-shared", ks.PreActivationBlock, {"filters": 6, "preactivate_shortcut": True}),
    Case("preactivation-pad", ks.PreActivationBlock, {"filters": 8, "strides": 2, "shortcut": "pad"}),
    Case("wide-spatial-dropout", ks.WideBlock, {"filters": 8, "spatial_dropout": True, "seed": 1}),
    Case("highway-coupled", ks.HighwayBlock, {"carry": "coupled"}),
    Case("highway-convolution", ks.HighwayBlock, {"filters": 6, "kernel_size": 3, "dropout": 0.1}),
    Case("highway-normalized", ks.HighwayBlock, {"normalization": "batch", "use_bias": False}),
    Case("highway-dropped", ks.HighwayBlock, {"survival_prob": 0.5}, rank=1),
    Case("dense-plain", ks.DenseBlock, {"num_layers": 2, "growth_rate": 3, "bottleneck": False, "dropout": 0.2}),
    Case("dense-dropped", ks.DenseBlock, {"num_layers": 2, "growth_rate": 3, "survival_prob": 0.5}),
    *_all_ranks("dense-recompute", ks.DenseBlock, {"num_layers": 2, "growth_rate": 3, "recompute": True}),
    Case(
        "dense-recompute-random",
        ks.DenseBlock,
        {"num_layers": 2, "growth_rate": 3, "recompute": True, "survival_prob": 0.5, "dropout": 0.2},
    ),
    Case("residual-recompute", ks.ResidualBlock, {"filters": 8, "strides": 2, "recompute": True, "dropout": 0.1}),
    Case("preactivation-recompute", ks.PreActivationBlock, {"filters": 8, "recompute": True, "survival_prob": 0.5}),
    Case("highway-recompute", ks.HighwayBlock, {"recompute": True}, rank=1),
    Case("transition-dropout", ks.TransitionBlock, {"compression": 1.0, "dropout": 0.2}),
    Case("stochastic-sample", ks.StochasticDepthBlock, {"filters": 8, "granularity": "sample", "seed": 3}),
    Case("stochastic-rows", ks.StochasticDepthBlock, {"filters": 8, "granularity": "rows", "survival_prob": 0.5}),
    Case("stochastic-paper", ks.StochasticDepthBlock, {"filters": 6, "scale": "inference"}),
    Case("stochastic-bottleneck", ks.BottleneckBlock, {"filters": 8, "survival_prob": 0.5, "dropout": 0.1}),
    Case("stochastic-rows-masked", ks.WideBlock, {"filters": 6, "granularity": "rows", "survival_prob": 0.5}, rank=1),
    Case("highway-rows", ks.HighwayBlock, {"survival_prob": 0.5, "granularity": "rows"}),
    Case("dense-rows", ks.DenseBlock, {"num_layers": 2, "growth_rate": 3, "survival_prob": 0.5, "granularity": "rows"}),
    Case(
        "stochastic-depth-rows",
        ks.StochasticDepth,
        {"layer": inside.wrapped, "survival_prob": 0.5, "granularity": "rows"},
    ),
    *_all_ranks("skip", ks.Residual, {"layer": inside.dense, "norm": "pre"}),
    Case("skip-layers", ks.Residual, {"layer": inside.dense_layers, "norm": "peri", "branch_scale": "rezero"}, rank=1),
    Case("skip-highway", ks.Residual, {"layer": inside.dense, "norm": "deepnorm", "depth": 4, "gate": "highway"}),
    Case(
        "skip-review",
        ks.Residual,
        {
            "layer": inside.dense,
            "norm": "keel",
            "depth": 4,
            "gate": "review",
            "normalization": "batch",
            "recompute": True,
        },
    ),
    Case(
        "skip-laurel",
        ks.Residual,
        {"layer": inside.dense_layers, "norm": "post", "gate": "laurel", "survival_prob": 0.5},
    ),
    Case("skip-attention", ks.Residual, {"layer": inside.attention, "survival_prob": 0.5, "granularity": "rows"}, 1),
    Case("skip-projection", ks.Residual, {"layer": inside.widening, "norm": "pre", "attention": "se"}, rank=0),
    Case("skip-activation", ks.Residual, {"layer": inside.dense, "norm": "post", "activation": "relu"}, rank=1),
    Case("skip-recompute", ks.Residual, {"layer": inside.wrapped_residual, "recompute": True, "survival_prob": 0.5}, 0),
    Case("expand-streams", ks.ExpandStreams, {"streams": 3}, rank=1),
    Case("reduce-streams", ks.ReduceStreams, {"reduction": "sum"}, rank=1, streams=4),
    *_all_ranks("hyper-connection", ks.HyperConnection, {"layer": inside.dense, "norm": "pre"}, streams=4),
    Case(
        "hyper-connection-sinkhorn",
        ks.HyperConnection,
        {"layer": inside.dense_layers, "constraint": "sinkhorn", "iterations": 5, "norm": "peri", "index": 2},
        rank=1,
        streams=4,
    ),
    Case(
        "hyper-connection-free",
        ks.HyperConnection,
        {"layer": inside.dense, "streams": 3, "constraint": None, "recompute": True, "survival_prob": 0.5},
        rank=0,
        streams=3,
    ),
    Case(
        "hyper-connection-static",
        ks.HyperConnection,
        {"layer": inside.attention, "streams": 2, "dynamic": False, "survival_prob": 0.5, "granularity": "rows"},
        rank=1,
        streams=2,
    ),
    Case("residual-se", ks.ResidualBlock, {"filters": 6, "attention": "se", "branch_scale": "layerscale"}),
    Case("preactivation-eca", ks.PreActivationBlock, {"filters": 6, "attention": "eca", "branch_scale": "rezero"}),
    Case(
        "dense-scaled",
        ks.DenseBlock,
        {"num_layers": 2, "growth_rate": 3, "attention": ks.SqueezeExcite(2), "branch_scale": "1/L", "depth": 2},
    ),
    Case("highway-scaled", ks.HighwayBlock, {"branch_scale": 0.5, "attention": "eca", "survival_prob": 0.5}),
    Case("stochastic-preactivation", ks.PreActivationBlock, {"filters": 6, "survival_prob": 0.5}),
    Case("stochastic-preactivation-shared", ks.PreActivationBlock, {"filters": 8, "strides": 2, "survival_prob": 0.5}),
    Case("stochastic-depth", ks.StochasticDepth, {"layer": inside.wrapped, "survival_prob": 0.5}),
    Case(
        "stochastic-depth-sample",
        ks.StochasticDepth,
        {"layer": inside.wrapped, "survival_prob": 0.5, "granularity": "sample"},
    ),
]


def public_classes() -> list[type]:
    return [getattr(ks, name) for name in ks.__all__ if isinstance(getattr(ks, name), type)]


def _choose(names: set[str]) -> list[Case]:
    """The rows of these names, and the first row of each class that has none among them."""
    chosen = {case.cls for case in CASES if case.name in names}
    first = {case.cls: case.name for case in reversed(CASES) if case.cls not in chosen}
    return [case for case in CASES if case.name in names | set(first.values())]


# One row for each public class and kind of shortcut: what costs a compilation is tested on these.
REPRESENTATIVES = _choose(
    {
        "normalization-2d",
        "residual-2d",
        "residual-strided-1d",
        "residual-pad",
        "residual-layer",
        "residual-groups",
        "residual-prelu",
        "residual-own-norm",
        "dense-layer-norm",
        "bottleneck-2d",
        "preactivation-3d",
        "preactivation-bottleneck-0d",
        "wide-spatial-dropout",
        "highway-1d",
        "highway-coupled",
        "highway-convolution",
        "dense-2d",
        "dense-recompute-random",
        "preactivation-recompute",
        "transition-2d",
        "stochastic-depth-block-2d",
        "stochastic-preactivation-shared",
        "stochastic-sample",
        "dense-dropped",
        "stochastic-depth",
        "drop-path-1d",
        "layer-scale-2d",
        "squeeze-excite-2d",
        "channel-attention-2d",
        "gated-residual-2d",
        "recurrent-highway",
        "depth-average-2d",
        "depth-attention-2d",
        "skip-highway",
        "skip-attention",
        "hyper-connection-1d",
        "hyper-connection-sinkhorn",
        "hyper-connection-free",
        "hyper-connection-static",
    }
)

# Of these, one for each way in which a layer learns: what takes several compilations is tested on these.
KINDS = _choose(
    {
        "normalization-2d",
        "residual-pad",
        "residual-layer",
        "residual-groups",
        "residual-prelu",
        "bottleneck-2d",
        "preactivation-recompute",
        "preactivation-bottleneck-0d",
        "wide-spatial-dropout",
        "highway-convolution",
        "dense-recompute-random",
        "transition-2d",
        "stochastic-depth-block-2d",
        "stochastic-sample",
        "stochastic-depth",
        "drop-path-1d",
        "layer-scale-2d",
        "squeeze-excite-2d",
        "channel-attention-2d",
        "gated-residual-2d",
        "recurrent-highway",
        "depth-average-2d",
        "depth-attention-2d",
        "skip-highway",
        "skip-attention",
        "hyper-connection-1d",
        "hyper-connection-free",
    }
)

# Layers that could learn something else when they are traced, compiled or on several devices: fused statistics, random
# states, branches that are dropped or run again, rows, scans, gradients of our own.
SENSITIVE_TO_TRACING = [
    {case.name: case for case in KINDS}[name]
    for name in (
        "normalization-2d",
        "residual-groups",
        "dense-recompute-random",
        "stochastic-sample",
        "stochastic-depth",
        "recurrent-highway",
        "depth-attention-2d",
        "skip-attention",
        "hyper-connection-1d",
        "hyper-connection-free",
    )
]

# The rows for `make test`: fewer on other backends than TensorFlow, since JAX compiles each operation for each shape.
USUAL = REPRESENTATIVES if keras.backend.backend() == "tensorflow" else KINDS


def one_row_for_each_set_of_options() -> list[Case]:
    """Where rows differ in rank alone, the rank takes turns."""
    families = [case.name.removesuffix("-0d") for case in CASES if case.name.endswith("-0d")]
    others = {f"{name}-{rank}d" for turn, name in enumerate(families) for rank in SHAPES if rank != turn % len(SHAPES)}
    return [case for case in CASES if case.name not in others]


def sweep_layers(cases: list[Case], usual: list[Case]) -> pytest.MarkDecorator:
    """Parametrises a test by `cases`, of which `make test` runs those in `usual`."""
    return pytest.mark.parametrize("case", sweep(cases, lambda case: case in usual), ids=[case.name for case in cases])


def draws(case: Case) -> bool:
    """Whether the layer has random states."""
    layer = case.make()
    layer.build(case.shape())
    return any("seed" in variable.path for variable in layer.variables)


def ids(case: Case) -> str:
    return case.name
