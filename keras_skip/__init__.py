"""Skip connections for Keras 3: residual, pre-activation, wide, highway, dense and stochastic-depth layers."""

import sys

# `python -m keras_skip` only looks for __main__.py here: the command line imports Keras if it needs it, on the backend
# that it needs. Until Python has found that file, argv[0] is "-m".
if sys.argv[:1] != ["-m"] or sys.orig_argv[-len(sys.argv)] != "keras_skip":
    from .adaptive.depth import DepthAttention, DepthAverage
    from .adaptive.hyper_connection import HyperConnection
    from .adaptive.pruning import list_depth_weights, prune_skips
    from .adaptive.recording import recorded_skips
    from .adaptive.stack import stack
    from .adaptive.streams import ExpandStreams, ReduceStreams
    from .attention import EfficientChannelAttention, SqueezeExcite
    from .blur_pool import BlurPool
    from .dense import DenseBlock, TransitionBlock
    from .drop_path import DropPath
    from .gated_residual import GatedResidualNetwork
    from .gates import HighwayGate, LaurelGate, ReviewGate
    from .highway import HighwayBlock
    from .layer_scale import LayerScale
    from .normalization import BatchNormalization
    from .preactivation import PreActivationBlock, PreActivationBottleneckBlock, WideBlock
    from .recurrent_highway import RecurrentHighway, RecurrentHighwayCell
    from .residual import BottleneckBlock, ResidualBlock
    from .stochastic_depth import StochasticDepth, StochasticDepthBlock, linear_survival
    from .surgery import (
        add_layer_scale,
        add_squeeze_excite,
        add_stochastic_depth,
        list_skips,
        without_branch,
        without_skip,
    )
    from .wrapper import Residual

__version__ = "0.1.0"

__all__ = [
    "BatchNormalization",
    "BlurPool",
    "BottleneckBlock",
    "DenseBlock",
    "DepthAttention",
    "DepthAverage",
    "DropPath",
    "EfficientChannelAttention",
    "ExpandStreams",
    "GatedResidualNetwork",
    "HighwayBlock",
    "HighwayGate",
    "HyperConnection",
    "LaurelGate",
    "LayerScale",
    "PreActivationBlock",
    "PreActivationBottleneckBlock",
    "RecurrentHighway",
    "RecurrentHighwayCell",
    "ReduceStreams",
    "Residual",
    "ResidualBlock",
    "ReviewGate",
    "SqueezeExcite",
    "StochasticDepth",
    "StochasticDepthBlock",
    "TransitionBlock",
    "WideBlock",
    "add_layer_scale",
    "add_squeeze_excite",
    "add_stochastic_depth",
    "linear_survival",
    "list_depth_weights",
    "list_skips",
    "prune_skips",
    "recorded_skips",
    "stack",
    "without_branch",
    "without_skip",
]
