"""The networks for sequences: parameters, which steps an output sees, the equations of the papers, arguments."""

from functools import partial

import keras
import numpy as np
import pytest

import zoo
from keras_skip import list_skips
from tests.channels import skip_without_channels_first
from tests.export.models import randomise
from tests.layers.test_equations import sigmoid
from tests.zoo.small_inputs import make_inputs
from zoo.networks.catalogue import MODELS
from zoo.networks.counting import count
from zoo.networks.sequences.recurrent_highway import recurrent_highway
from zoo.networks.sequences.resnet1d import resnet1d
from zoo.networks.sequences.tcn import tcn
from zoo.networks.sequences.wavenet import wavenet
from zoo.training.learner import precision

SMALL_WAVENET = {"filters": 4, "skip_filters": 6, "depth": 5, "cycle": 3}
SMALL_HIGHWAY = {"units": 5, "depth": 3}
BUILDERS = {
    "tcn": partial(tcn, filters=(4, 4, 6), kernel_size=3),
    "wavenet": partial(wavenet, **SMALL_WAVENET),
    "resnet1d": resnet1d,
    "recurrent_highway": partial(recurrent_highway, **SMALL_HIGHWAY),
}
PARAMETERS = {
    # The authors' network for the pixels of MNIST, without the lengths of its 16 * 25 normalised filters.
    "tcn": 66_910 - 16 * 25,
    # By the paper's figure 4, for 30 blocks of which the last has no 1x1 convolution to a next one.
    "wavenet": 256 * 32
    + (2 * 32 * 32 + 32)
    + 30 * (2 * (2 * 32 * 32 + 32) + (32 * 512 + 512))
    + 29 * (32 * 32 + 32)
    + (512 * 512 + 512)
    + (512 * 256 + 256),
    # torchvision's resnet18 and resnet34 after each of their layers was replaced by that of one dimension.
    "resnet1d_18": 3_851_397,
    "resnet1d_34": 7_225_733,
    "recurrent_highway": (1 + 5 * 128) * 256 + 5 * 256 + 128 * 10 + 10,
    # The paper's 23 million.
    "recurrent_highway_text": 10_000 * 830 + 11 * 830 * 1660 + 10 * 1660,
}


def numpy(x):
    return keras.ops.convert_to_numpy(x)


def test_parameters_are_those_of_the_papers_and_of_the_authors_code():
    assert {name: MODELS[name].parameters for name in zoo.list_models(task="sequences")} == PARAMETERS


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("tcn", {}),
        ("tcn", {"normalization": "batch", "skip_connections": True}),
        ("tcn", {"normalization": "layer", "dilation_rates": (4, 1, 2)}),
        ("wavenet", {}),
        ("recurrent_highway", {}),
    ],
)
def test_an_output_depends_on_no_later_step(name, arguments):
    model = randomise(BUILDERS[name]((30, 2), classes=3, return_sequences=True, **arguments))
    series = make_inputs(model)
    changed = series.copy()
    changed[:, 17:] += 1
    before, after = numpy(model(series)), numpy(model(changed))
    np.testing.assert_array_equal(after[:, :17], before[:, :17])
    assert (after[:, 17] != before[:, 17]).any()


@pytest.mark.parametrize(
    ("model", "steps"),
    [
        # A block has two convolutions of kernel 3.
        (partial(tcn, filters=(4, 4, 4), kernel_size=3), 1 + 2 * 2 * (1 + 2 + 4)),
        (partial(tcn, filters=(4, 4), kernel_size=3, dilation_rates=(1, 5)), 1 + 2 * 2 * (1 + 5)),
        (partial(tcn, filters=(4, 4), kernel_size=2, skip_connections=True), 1 + 2 * (1 + 2)),
        # One more convolution takes the input.
        (partial(wavenet, **SMALL_WAVENET), 1 + 1 + (1 + 2 + 4 + 1 + 2)),
        (partial(wavenet, **SMALL_WAVENET | {"kernel_size": 3, "depth": 2}), 1 + 2 * (1 + 1 + 2)),
    ],
)
def test_the_last_output_sees_as_many_steps_as_the_dilations_give(model, steps):
    model = model((40, 1), classes=3, return_sequences=False)
    # Positive weights keep all units active, and small ones do not saturate them, so that no step is lost.
    model.set_weights([0.2 * np.abs(weight) + 0.05 for weight in model.get_weights()])
    series = np.full((40, 40, 1), 0.1, "float32")
    expected = numpy(model(series))
    series[range(40), range(40)] += 0.5  # another step in each series
    changed = numpy(model(series))
    seen = np.flatnonzero((changed != expected).any(axis=-1))
    assert seen.tolist() == [*range(40 - steps, 40)]


@pytest.mark.parametrize("name", ["tcn", "wavenet", "recurrent_highway"])
def test_the_last_logits_alone_are_the_last_of_all(name):
    every, last = (BUILDERS[name]((12, 2), classes=3, return_sequences=each) for each in (True, False))
    last.set_weights(randomise(every).get_weights())
    series = make_inputs(every)
    np.testing.assert_allclose(numpy(last(series)), numpy(every(series))[:, -1], rtol=1e-5, atol=1e-6)


def causal(x, kernel, bias, rate=1):
    """Convolution of (steps, channels) in NumPy: the last tap of the kernel sees the step itself."""
    y = np.tile(bias, (len(x), 1)).astype("float64")
    for tap, weight in enumerate(kernel[::-1]):
        y[tap * rate :] += x[: len(x) - tap * rate] @ weight
    return y


def test_wavenet_computes_the_papers_equations():
    model = randomise(wavenet((20,), classes=7, **SMALL_WAVENET))
    held = {variable.path: numpy(variable).astype("float64") for variable in model.weights}

    def conv(x, name, rate=1):
        return causal(x, held[f"{name}/kernel"], held[f"{name}/bias"], rate)

    tokens = make_inputs(model)
    x, total = conv(held["embedding/embeddings"][tokens[0]], "stem_conv"), 0.0
    for block, rate in enumerate((1, 2, 4, 1, 2), 1):
        name = f"block{block}"
        z = np.tanh(conv(x, f"{name}_filter_conv", rate)) * sigmoid(conv(x, f"{name}_gate_conv", rate))
        total = total + conv(z, f"{name}_skip_conv")
        x = x + conv(z, f"{name}_conv") if block < 5 else x
    hidden = np.maximum(conv(np.maximum(total, 0), "hidden_conv"), 0)
    expected = hidden @ held["head/kernel"] + held["head/bias"]
    np.testing.assert_allclose(numpy(model(tokens))[0], expected, rtol=1e-4, atol=1e-5)


def test_maps_of_signals_lie_where_torchs_padding_puts_them():
    model = resnet1d((64, 1), features_only=True)
    model.set_weights([np.full(weight.shape, 0.5) for weight in model.get_weights()])
    series = np.full((65, 64, 1), 0.1, "float32")
    series[range(64), range(64)] += 1000.0  # a step in each series but the last
    *changed, expected = numpy(model(series)["C3"])[:, 0]
    # Kernels and strides; torch pads both ends by half of a kernel.
    last = 0
    for kernel, stride in reversed([(7, 2), (3, 2), *[(3, 1)] * 4, (3, 2), *[(3, 1)] * 3]):
        last = last * stride + kernel // 2
    assert np.flatnonzero((changed != expected).any(axis=-1)).tolist() == [*range(last + 1)]


def test_recurrent_highway_for_text_maps_the_states_by_the_matrix_of_the_embeddings():
    model = randomise(recurrent_highway((6,), classes=9, return_sequences=True, **SMALL_HIGHWAY))
    embeddings, kernel, *rest = [numpy(variable).astype("float64") for variable in model.weights]
    tokens = make_inputs(model)
    state, expected = np.zeros(5), []
    for token in tokens[0]:
        for depth, (recurrent, bias) in enumerate(zip(rest[::2], rest[1::2], strict=True)):
            z = state @ recurrent + bias + (embeddings[token] @ kernel if depth == 0 else 0)
            update, gate = np.tanh(z[:5]), sigmoid(z[5:])
            state = update * gate + state * (1 - gate)
        expected.append(embeddings @ state)
    np.testing.assert_allclose(numpy(model(tokens))[0], expected, rtol=1e-4, atol=1e-5)


def test_recurrent_highway_with_a_vocabulary_has_its_own_head():
    model = recurrent_highway((None,), classes=2, vocabulary=50, **SMALL_HIGHWAY)
    assert model.output_shape == (None, 2)
    assert model.get_layer("embedding").embeddings.shape == (50, 5)
    assert model.get_layer("head").kernel.shape == (5, 2)


def test_unrolled_steps_give_the_same():
    loop, unrolled = (recurrent_highway((8, 2), unroll=unroll, **SMALL_HIGHWAY) for unroll in (False, True))
    unrolled.set_weights(randomise(loop).get_weights())
    series = make_inputs(loop)
    np.testing.assert_allclose(numpy(unrolled(series)), numpy(loop(series)), rtol=1e-5, atol=1e-6)


def test_the_sums_of_the_blocks_are_skips_that_surgery_finds():
    assert list_skips(BUILDERS["tcn"]((20, 2))) == ["block1_sum", "block2_sum", "block3_sum"]
    assert list_skips(BUILDERS["wavenet"]((20, 2)))[:4] == [f"block{block}_sum" for block in (1, 2, 3, 4)]


def test_survival_probabilities_fall_linearly_to_that_of_the_last_block():
    model = BUILDERS["tcn"]((20, 2), survival_prob=0.7)
    rates = [model.get_layer(f"block{block}_drop").rate for block in (1, 2, 3)]
    np.testing.assert_allclose(rates, [0.1, 0.2, 0.3])
    assert wavenet((20, 2), survival_prob=0.5, **SMALL_WAVENET).get_layer("block4_drop").rate == pytest.approx(0.4)
    blocks = [layer for layer in resnet1d((64, 2), survival_prob=0.6, recompute=True).layers if "_block" in layer.name]
    np.testing.assert_allclose([block.survival_prob for block in blocks], 1 - 0.4 * np.arange(1, 9) / 8)
    assert all(block.recompute for block in blocks)


@pytest.mark.parametrize(
    ("name", "options"),
    [*((name, {}) for name in BUILDERS), *(("tcn", {"normalization": kind}) for kind in ("batch", "layer"))],
)
def test_channels_first_has_the_same_variables_and_outputs(name, options):
    skip_without_channels_first()
    last = randomise(BUILDERS[name]((40, 3), classes=4, **options))
    keras.config.set_image_data_format("channels_first")
    try:
        first = BUILDERS[name]((3, 40), classes=4, **options)
        assert {v.path: v.shape for v in first.weights} == {v.path: v.shape for v in last.weights}
        first.set_weights(last.get_weights())
        series = make_inputs(last)
        np.testing.assert_allclose(numpy(first(series.transpose(0, 2, 1))), numpy(last(series)), rtol=1e-4, atol=1e-5)
    finally:
        keras.config.set_image_data_format("channels_last")


def test_features_are_the_maps_that_the_head_sees():
    series = np.zeros((1, 64, 2), "float32")
    shapes = {
        name: {level: y.shape for level, y in BUILDERS[name]((64, 2), features_only=True)(series).items()}
        for name in ("tcn", "wavenet", "resnet1d")
    }
    assert shapes == {
        "tcn": {"C0": (1, 64, 6)},
        "wavenet": {"C0": (1, 64, 6)},
        "resnet1d": {
            "C1": (1, 32, 64),
            "C2": (1, 16, 64),
            "C3": (1, 8, 128),
            "C4": (1, 4, 256),
            "C5": (1, 2, 512),
        },
    }


@pytest.mark.parametrize("name", BUILDERS)
def test_weight_decay_d_has_the_gradient_d_times_w(name):
    model = BUILDERS[name]((40, 3), classes=4, weight_decay=0.5)
    kernels = [numpy(v).astype("float64") for v in model.trainable_variables if "kernel" in v.name]
    expected = sum(0.25 * np.sum(kernel**2) for kernel in kernels)
    assert float(numpy(sum(model.losses))) == pytest.approx(expected, rel=1e-4)


def test_weight_decay_reaches_the_embeddings_that_are_the_head():
    model = recurrent_highway((9,), weight_decay=0.5, **SMALL_HIGHWAY)
    embeddings = numpy(model.get_layer("head").embeddings)
    decayed = [embeddings, *(numpy(v) for v in model.trainable_variables if "kernel" in v.name)]
    expected = sum(0.25 * np.sum(weight.astype("float64") ** 2) for weight in decayed)
    assert float(numpy(sum(model.losses))) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", BUILDERS)
def test_logits_are_float32_in_mixed_precision(name):
    with precision("mixed_bfloat16"):
        models = [BUILDERS[name]((40, 3))]
        models += [recurrent_highway((6,), **SMALL_HIGHWAY)] if name == "recurrent_highway" else []
    for model in models:
        assert model.output.dtype == "float32"
        assert keras.backend.standardize_dtype(model(make_inputs(model)).dtype) == "float32"
        assert {layer.compute_dtype for layer in model.layers} >= {"bfloat16", "float32"}


def test_bottleneck_blocks_for_signals():
    model = resnet1d((64, 12), depth=50)
    # torchvision's resnet50, with layers of one dimension.
    assert count(model.trainable_variables) == 15_969_413
    assert model.name == "resnet1d_50"


@pytest.mark.parametrize(
    ("builder", "arguments", "named"),
    [
        (tcn, {"input_shape": (40,)}, r"input_shape=\(40,\)"),
        (tcn, {"input_shape": (40, None)}, r"input_shape=\(40, None\)"),
        (tcn, {"filters": ()}, r"filters=\(\)"),
        (tcn, {"filters": 8}, "filters=8"),
        (tcn, {"filters": (8, 0)}, "filters=0"),
        (tcn, {"filters": (8, 8), "dilation_rates": (1,)}, r"dilation_rates=\(1,\)"),
        (tcn, {"kernel_size": 0}, "kernel_size=0"),
        (tcn, {"normalization": "weight"}, "normalization='weight'"),
        (tcn, {"survival_prob": 0.0}, r"survival_prob=0\.0"),
        (tcn, {"dropout": 1.0}, r"dropout=1\.0"),
        (tcn, {"dropout": None}, "dropout=None"),
        (wavenet, {"survival_prob": 2}, "survival_prob=2"),
        (resnet1d, {"survival_prob": None}, "survival_prob=None"),
        (tcn, {"classes": 0}, "classes=0"),
        (wavenet, {"input_shape": (0,)}, "input_shape=0"),
        (wavenet, {"depth": 0}, "depth=0"),
        (wavenet, {"cycle": 0}, "cycle=0"),
        (wavenet, {"filters": 0}, "filters=0"),
        (wavenet, {"skip_filters": 0}, "skip_filters=0"),
        (wavenet, {"kernel_size": -1}, "kernel_size=-1"),
        (resnet1d, {"input_shape": (31, 2)}, r"input_shape=\(31, 2\)"),
        (resnet1d, {"depth": 20}, "depth=20"),
        (recurrent_highway, {"units": 0}, "units=0"),
        (recurrent_highway, {"depth": 0}, "depth=0"),
        (recurrent_highway, {"carry": "both"}, "carry='both'"),
        (recurrent_highway, {"vocabulary": 9}, "vocabulary=9"),
        (recurrent_highway, {"input_shape": (None, 2), "unroll": True}, "unroll=True"),
        (recurrent_highway, {"input_shape": (9,), "vocabulary": 0}, "vocabulary=0"),
        (recurrent_highway, {"input_shape": (9,), "classes": 0}, "classes=0"),
    ],
)
def test_arguments_out_of_range_are_refused(builder, arguments, named):
    with pytest.raises(ValueError, match=f"Expected .* Received: .*{named}"):
        builder(**{"input_shape": (64, 2), **arguments})
