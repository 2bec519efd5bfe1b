"""Bad arguments and bad shapes: a sentence with what was expected and what came, at construction or at build."""

import keras
import numpy as np
import pytest

import keras_skip as ks

pytestmark = pytest.mark.once

X = np.ones((2, 3, 8), "float32")

AT_CONSTRUCTION = {
    "filters=-3": lambda: ks.ResidualBlock(-3),
    "filters=0": lambda: ks.BottleneckBlock(0),
    "filters=2.5": lambda: ks.WideBlock(2.5),
    "filters=True": lambda: ks.WideBlock(True),
    "filters=10, ratio=4": lambda: ks.BottleneckBlock(10),
    "ratio=0": lambda: ks.BottleneckBlock(8, ratio=0),
    "stride_position='last'": lambda: ks.BottleneckBlock(8, stride_position="last"),
    "kernel_size=0": lambda: ks.ResidualBlock(8, kernel_size=0),
    r"kernel_size=\(3, -1\)": lambda: ks.ResidualBlock(8, kernel_size=(3, -1)),
    r"kernel_size=\(3, 3, 3, 3\)": lambda: ks.ResidualBlock(8, kernel_size=(3, 3, 3, 3)),
    "strides=0": lambda: ks.PreActivationBlock(8, strides=0),
    "strides='2'": lambda: ks.PreActivationBlock(8, strides="2"),
    "dilation_rate=-1": lambda: ks.ResidualBlock(8, dilation_rate=-1),
    "padding='valid'": lambda: ks.ResidualBlock(8, padding="valid"),
    "shortcut='option A'": lambda: ks.ResidualBlock(8, shortcut="option A"),
    "shortcut=None": lambda: ks.ResidualBlock(8, shortcut=None),
    "dropout=1.0": lambda: ks.ResidualBlock(8, dropout=1.0),
    "dropout=-0.1": lambda: ks.WideBlock(8, dropout=-0.1),
    "dropout=True": lambda: ks.WideBlock(8, dropout=True),
    "dropout='half'": lambda: ks.WideBlock(8, dropout="half"),
    "survival_prob=0.0": lambda: ks.ResidualBlock(8, survival_prob=0.0),
    "survival_prob=1.5": lambda: ks.StochasticDepth(keras.layers.Dense(2), 1.5),
    "survival_prob=nan": lambda: ks.StochasticDepth(keras.layers.Dense(2), float("nan")),
    "granularity='pixel'": lambda: ks.StochasticDepthBlock(8, granularity="pixel"),
    "scale='none'": lambda: ks.StochasticDepthBlock(8, scale="none"),
    "layer='dense'": lambda: ks.StochasticDepth("dense", 0.5),
    "normalization='instance'": lambda: ks.ResidualBlock(8, normalization="instance"),
    "seed='1'": lambda: ks.ResidualBlock(8, seed="1"),
    "seed=1.5": lambda: ks.StochasticDepth(keras.layers.Dense(2), 0.5, seed=1.5),
    "norm_momentum=1.0": lambda: ks.ResidualBlock(8, norm_momentum=1.0),
    "norm_epsilon=0": lambda: ks.ResidualBlock(8, norm_epsilon=0),
    "normalization=None": lambda: ks.ResidualBlock(8, zero_init_gamma=True, normalization=None),
    "data_format='NCHW'": lambda: ks.ResidualBlock(8, data_format="NCHW"),
    r"use_bias=\(True,\)": lambda: ks.ResidualBlock(8, use_bias=(True,)),
    r"use_bias=\(True, False, True\)": lambda: ks.DenseBlock(2, 4, use_bias=(True, False, True)),
    "use_bias='no'": lambda: ks.ResidualBlock(8, use_bias="no"),
    "use_bias=2": lambda: ks.ResidualBlock(8, use_bias=(True, 2)),
    "spatial_dropout=0.2": lambda: ks.ResidualBlock(8, spatial_dropout=0.2),
    "zero_init_gamma='False'": lambda: ks.ResidualBlock(8, zero_init_gamma="False"),
    "bottleneck='no'": lambda: ks.DenseBlock(2, 4, "no"),
    "return_skip='False'": lambda: ks.TransitionBlock(return_skip="False"),
    "activation=<class": lambda: ks.ResidualBlock(8, activation=keras.layers.PReLU),
    "groups=0": lambda: ks.DenseBlock(2, 4, groups=0),
    "width=0": lambda: ks.BottleneckBlock(8, width=0),
    "downsample='max'": lambda: ks.ResidualBlock(8, downsample="max"),
    "downsample='blur'": lambda: ks.ResidualBlock(8, downsample="blur", padding="causal"),
    r"strides=\(2, 0\)": lambda: ks.BlurPool((2, 0)),
    "preactivate_shortcut='yes'": lambda: ks.PreActivationBlock(8, preactivate_shortcut="yes"),
    "carry='none'": lambda: ks.HighwayBlock(carry="none"),
    "transform_bias=None": lambda: ks.HighwayBlock(transform_bias=None),
    "recompute=3": lambda: ks.DenseBlock(4, 12, recompute=3),
    "recompute='yes'": lambda: ks.ResidualBlock(8, recompute="yes"),
    "streams=1": lambda: ks.ExpandStreams(1),
    "streams=6; constraint='sinkhorn' allows more": lambda: ks.HyperConnection(keras.layers.Dense(8), 6),
    "constraint='softmax'": lambda: ks.HyperConnection(keras.layers.Dense(8), constraint="softmax"),
    "iterations=0": lambda: ks.HyperConnection(keras.layers.Dense(8), constraint="sinkhorn", iterations=0),
    "index=-1": lambda: ks.HyperConnection(keras.layers.Dense(8), index=-1),
    "dynamic='no'": lambda: ks.HyperConnection(keras.layers.Dense(8), dynamic="no"),
    "norm='post'": lambda: ks.HyperConnection(keras.layers.Dense(8), norm="post"),
    "reduction='max'": lambda: ks.ReduceStreams("max"),
    "num_layers=0": lambda: ks.DenseBlock(0, 12),
    "growth_rate=-12": lambda: ks.DenseBlock(4, -12),
    "compression=0": lambda: ks.TransitionBlock(0),
    "compression=1.5": lambda: ks.TransitionBlock(1.5),
    "norm='sandwich'": lambda: ks.Residual(keras.layers.Dense(8), norm="sandwich"),
    "normalization=None.?$": lambda: ks.Residual(keras.layers.Dense(8), "pre", normalization=None),
    "depth=None$": lambda: ks.Residual(keras.layers.Dense(8), "keel"),
    "depth=None.?$": lambda: ks.HighwayBlock(branch_scale="1/L"),
    "depth=0": lambda: ks.Residual(keras.layers.Dense(8), depth=0),
    "branch_scale='skipinit'": lambda: ks.ResidualBlock(8, branch_scale="skipinit"),
    "branch_scale=True": lambda: ks.WideBlock(8, branch_scale=True),
    "branch_scale=nan": lambda: ks.DenseBlock(2, 4, branch_scale=float("nan")),
    "attention='cbam'": lambda: ks.BottleneckBlock(8, attention="cbam"),
    "gate='lstm'": lambda: ks.Residual(keras.layers.Dense(8), gate="lstm"),
    r"layer=\[\]": lambda: ks.Residual([]),
    "layer=<class": lambda: ks.Residual(keras.layers.Dense),
    r"layer='dense'.?$": lambda: ks.Residual(["dense"]),
    "shortcut='option B'": lambda: ks.Residual(keras.layers.Dense(8), shortcut="option B"),
    "form='lora'": lambda: ks.LaurelGate("lora"),
    r"form='lr\+lr'": lambda: ks.LaurelGate("lr+lr"),
    "form=None": lambda: ks.LaurelGate(None),
    "rank=0": lambda: ks.LaurelGate("lr", rank=0),
    "carry='both'": lambda: ks.HighwayGate("both"),
    "units=0": lambda: ks.RecurrentHighway(0),
    "depth=-1": lambda: ks.RecurrentHighwayCell(4, -1),
    "carry='input'": lambda: ks.RecurrentHighway(4, carry="input"),
    "recurrent_dropout=1.0": lambda: ks.RecurrentHighway(4, recurrent_dropout=1.0),
    "recurrent_activation=<class": lambda: ks.RecurrentHighwayCell(4, recurrent_activation=keras.layers.PReLU),
    "units=2.5": lambda: ks.GatedResidualNetwork(2.5),
    "output_units=0": lambda: ks.GatedResidualNetwork(4, 0),
    "dilation=0": lambda: ks.DepthAverage(0),
    "period=1.5": lambda: ks.DepthAverage(period=1.5),
    r"kept=\[\]": lambda: ks.DepthAverage(kept=[]),
    r"kept=\[2, 1\]": lambda: ks.DepthAverage(kept=[2, 1]),
    r"kept=\[-1\]": lambda: ks.DepthAverage(kept=[-1]),
    "kept=3": lambda: ks.DepthAverage(kept=3),
    "block_size=0": lambda: ks.DepthAttention(0),
    "reduction='last'": lambda: ks.DepthAttention(reduction="last"),
    "final=0.0": lambda: ks.linear_survival(0.0, 4),
    "num_blocks=0": lambda: ks.linear_survival(0.5, 0),
}

AT_BUILD = {
    r"input_shape=\(3, 8\)": (lambda: ks.ReduceStreams(), (3, 8)),
    r"input_shape=\(2, 3, 8\)": (lambda: ks.HyperConnection(keras.layers.Dense(8)), (2, 3, 8)),
    r"an update of shape \(2, 3, 6\)": (lambda: ks.HyperConnection(keras.layers.Dense(6)), (2, 3, 4, 8)),
    r"input_shape=\(8,\)": (lambda: ks.ResidualBlock(8), (8,)),
    r"input_shape=\(1, 2, 3, 4, 5, 6\)": (lambda: ks.HighwayBlock(), (1, 2, 3, 4, 5, 6)),
    r"input_shape=\(2, 8, 8, None\)": (lambda: ks.DenseBlock(2, 4), (2, 8, 8, None)),
    "lstm, which gives a (tuple|list)": (
        lambda: ks.Residual(keras.layers.LSTM(8, return_sequences=True, return_state=True, name="lstm")),
        (2, 5, 8),
    ),
    "kernel_size=3": (lambda: ks.ResidualBlock(8, kernel_size=3), (2, 8)),
    "strides=2": (lambda: ks.ResidualBlock(8, strides=2), (2, 8)),
    r"kernel_size=\(3, 3\)": (lambda: ks.ResidualBlock(8, kernel_size=(3, 3)), (2, 9, 8)),
    r"strides=\(2, 2\)": (lambda: ks.ResidualBlock(8, strides=(2, 2)), (2, 9, 8)),
    "filters=4": (lambda: ks.ResidualBlock(4, shortcut="pad"), (2, 8, 8, 8)),
    "filters=8, strides=2": (lambda: ks.ResidualBlock(8, strides=2, shortcut="identity"), (2, 8, 8, 8)),
    r"with output shape \(2, 8, 8, 3\)": (lambda: ks.ResidualBlock(8, shortcut=keras.layers.Dense(3)), (2, 8, 8, 8)),
    r"input_shape=\(2, 8, 8, 8\)": (lambda: ks.ResidualBlock(8, padding="causal"), (2, 8, 8, 8)),
    r"kernel_size=\(2, 2\)": (lambda: ks.ResidualBlock(8, 2, padding="symmetric"), (2, 8, 8, 8)),
    r"groups=2, kernel_size=\(\), input_shape=\(2, 8\)": (lambda: ks.ResidualBlock(8, groups=2), (2, 8)),
    r"groups=2, kernel_size=\(1,\)": (lambda: ks.HighwayBlock(groups=2), (2, 5, 8)),
    "groups=3, channels=8, filters=9": (lambda: ks.WideBlock(9, groups=3), (2, 5, 5, 8)),
    "groups=4, channels=6, filters=6": (lambda: ks.BottleneckBlock(8, width=6, groups=4), (2, 5, 5, 8)),
    r"input_shape=\(2, 7\)": (lambda: ks.BlurPool(), (2, 7)),
    "filters=16": (lambda: ks.HighwayBlock(16), (2, 8)),
    r"input_shape=\(2, 1, 8, 8\), compression=0.5": (lambda: ks.TransitionBlock(), (2, 1, 8, 8)),
    r"input_shape=\(2, 8, 8, 1\), compression=0.5": (lambda: ks.TransitionBlock(), (2, 8, 8, 1)),
    "normalization=UnitNormalization": (
        lambda: ks.ResidualBlock(8, zero_init_gamma=True, normalization=keras.layers.UnitNormalization()),
        (2, 8),
    ),
    "normalization='rms'": (lambda: ks.WideBlock(8, normalization="rms", data_format="channels_first"), (2, 8, 5, 5)),
    "normalization='rms'$": (lambda: ks.ResidualBlock(8, normalization="rms", zero_init_gamma=True), (2, 8)),
    r"shape=\(2, 8\)": (lambda: ks.TransitionBlock(normalization="group"), (2, 8)),
    r"filters=9, strides=\(1,\), input_shape=\(2, 5, 8\)": (
        lambda: ks.Residual(keras.layers.Dense(9), shortcut="identity"),
        (2, 5, 8),
    ),
    r"update of shape \(2, 3, 8\) for an input of shape \(2, 5, 8\)": (
        lambda: ks.Residual(keras.layers.Conv1D(8, 3)),
        (2, 5, 8),
    ),
    r"update of shape \(2, 40\)": (lambda: ks.Residual(keras.layers.Flatten()), (2, 5, 8)),
    r"output shape \(2, 5, 9\)": (
        lambda: ks.Residual(keras.layers.Dense(8), shortcut=keras.layers.Dense(9)),
        (2, 5, 8),
    ),
    r"input_shape=\(2, 8\)": (lambda: ks.RecurrentHighway(4), (2, 8)),
    r"input_shape=\(2, 5, None\)": (lambda: ks.RecurrentHighway(4), (2, 5, None)),
    r"input_shape=\(2, 5, 8\)": (lambda: ks.RecurrentHighwayCell(4), (2, 5, 8)),
    r"form='rw\+pa', and 0 earlier": (lambda: ks.Residual(keras.layers.Dense(8), gate=ks.LaurelGate("rw+pa")), (2, 8)),
    "normalization=RMSNormalization": (
        lambda: ks.ResidualBlock(8, data_format="channels_first", normalization=keras.layers.RMSNormalization()),
        (2, 8, 5, 5),
    ),
}


@pytest.mark.parametrize("received", AT_CONSTRUCTION)
def test_bad_argument_is_refused_at_construction(received):
    with pytest.raises(ValueError, match=f"(?s)Expected .*Received: .*{received}"):
        AT_CONSTRUCTION[received]()


@pytest.mark.parametrize("received", AT_BUILD)
def test_bad_shape_is_refused_at_build(received):
    make, shape = AT_BUILD[received]
    with pytest.raises(ValueError, match=f"(?s)Expected .*Received: .*{received}"):
        make().build(shape)


@pytest.mark.parametrize(
    ("argument", "value"), [("context", X), ("attention_mask", X > 0), ("use_causal_mask", True)], ids=str
)
def test_arguments_that_no_layer_inside_a_skip_takes_are_refused(argument, value):
    for x in (X, keras.Input(X.shape[1:])):
        with pytest.raises(ValueError, match=rf"Expected a layer that takes the {argument}.*Received: \['Dense'\]"):
            ks.Residual(keras.layers.Dense(8))(x, **{argument: value})


def test_earlier_activations_that_a_gate_does_not_take_are_refused():
    with pytest.raises(ValueError, match="Expected earlier activations for a form with 'pa'.*form='rw', and 1 earlier"):
        ks.Residual(keras.layers.Dense(8), gate="laurel")(X, earlier=[X])
    with pytest.raises(ValueError, match="Expected a gate that reads the earlier activations.*Received: gate=None"):
        ks.Residual(keras.layers.Dense(8))(X, earlier=[X])
    with pytest.raises(ValueError, match="gate that reads the earlier activations.*Received: gate=HighwayGate"):
        ks.Residual(keras.layers.Dense(8), gate="highway")(X, earlier=[X])


def test_a_class_in_the_place_of_a_layer_is_told_apart():
    with pytest.raises(ValueError, match=r"to be a layer, as in layer=Dense\(...\), not its class. Received"):
        ks.Residual(keras.layers.Dense)
    with pytest.raises(ValueError, match=r"or a layer, as in attention=SqueezeExcite\(...\), not its class. Received"):
        ks.BottleneckBlock(8, attention=ks.SqueezeExcite)


def test_a_list_of_inputs_is_refused():
    with pytest.raises(
        ValueError, match=r"one tensor as the input. Received: tensors of shapes \[\(2, 3, 8\), \(2, 3, 8\)\]"
    ):
        ks.Residual(keras.layers.MultiHeadAttention(2, 4))([X, X])


def test_unknown_argument_is_refused():
    with pytest.raises((TypeError, ValueError), match="filter_count"):
        ks.ResidualBlock(8, filter_count=3)


def test_other_channels_than_built_for_are_refused():
    block = ks.ResidualBlock(8)
    block.build((None, 8, 8, 3))
    with pytest.raises(ValueError, match="expected axis 3 .*to have value 3.*received input with shape"):
        block(keras.ops.zeros((1, 8, 8, 4)))
