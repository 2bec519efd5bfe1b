"""What is changed on the sub-layers of a block after they were made survives files, clones and configurations."""

import gc
import warnings

import keras
import numpy as np
import pytest
from keras import ops

import keras_skip as ks
from tests.layers.table import CASES, KINDS, REPRESENTATIVES, Case, sweep_layers

X = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
BACKEND = keras.backend.backend()
JIT = BACKEND == "jax"


def leaves(layer):
    """The layers without layers inside, where attention counts as one: Keras's keeps no settings of those inside."""
    found = []
    for each in layer._layers:
        found += leaves(each) if each._layers and not isinstance(each, keras.layers.MultiHeadAttention) else [each]
    return found


def trainable(model):
    return [(v.path.split("/")[-2:], v.trainable) for layer in leaves(model) for v in layer.weights]


def reloaded(model, folder):
    model.save(folder / "model.keras")
    return keras.saving.load_model(folder / "model.keras")


@pytest.mark.once
@sweep_layers(CASES, REPRESENTATIVES)
def test_frozen_sub_layers_stay_frozen(case: Case):
    layer = case.make(name="block")
    config = layer.get_config()
    layer.build(case.shape())
    assert layer.get_config().keys() == config.keys()
    for inner in leaves(layer)[::2]:
        inner.trainable = False
    copy = case.cls.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()  # before it is built too
    copy.build(case.shape())
    assert trainable(copy) == trainable(layer)
    assert copy.get_config() == layer.get_config()
    assert (config != layer.get_config()) is bool(leaves(layer))


@pytest.mark.once
def test_files_clones_and_wrappers_keep_frozen_normalisations_which_do_not_move(tmp_path):
    inputs = keras.Input((None, 4))
    blocks = [ks.ResidualBlock(4), ks.DenseBlock(2, 3)]
    model = keras.Model(inputs, keras.layers.TimeDistributed(blocks[1])(blocks[0](inputs)))
    frozen = [layer for layer in leaves(model) if isinstance(layer, ks.BatchNormalization)]
    assert len(frozen) == 6
    for layer in frozen:
        layer.trainable = False
    for copy in (reloaded(model, tmp_path), keras.models.clone_model(model)):
        assert trainable(copy) == trainable(model)
        before = [layer.get_weights() for layer in leaves(copy) if isinstance(layer, ks.BatchNormalization)]
        copy(X.reshape(2, 4, 4), training=True)
        after = [layer.get_weights() for layer in leaves(copy) if isinstance(layer, ks.BatchNormalization)]
        for old, new in zip(sum(before, []), sum(after, []), strict=True):
            np.testing.assert_array_equal(new, old)


@pytest.mark.once
def test_a_part_of_a_frozen_block_that_learns_still_does(tmp_path):
    block = ks.ResidualBlock(4, trainable=False)
    model = keras.Sequential([keras.Input((4,)), block])
    block.conv2.trainable = True
    again = reloaded(model, tmp_path).layers[-1]
    assert again.conv2.trainable and not again.conv1.trainable and not again.trainable


@pytest.mark.once
def test_a_block_that_is_thawed_has_no_changes_to_tell():
    block = ks.DenseBlock(2, 3, trainable=False)
    block.build(X.shape)
    block.trainable = True
    assert "sub_layers" not in block.get_config()


@pytest.mark.once
def test_other_settings_survive_as_well(tmp_path):
    block = ks.WideBlock(4, dropout=0.5)
    model = keras.Sequential([keras.Input((4,)), block])
    block.dropout_layer.rate, block.norm1.momentum = 0.25, 0.5
    block.conv1.enable_lora(2)
    again = reloaded(model, tmp_path).layers[-1]
    assert (again.dropout_layer.rate, again.norm1.momentum) == (0.25, 0.5)
    assert again.conv1.lora_enabled and again.conv1.lora_kernel_a.shape == (4, 2)
    assert again.norm2.momentum == 0.99 and set(again.get_config()["sub_layers"]) == {"dropout_layer", "norm1", "conv1"}


@pytest.mark.once
def test_a_normalisation_that_is_not_registered_keeps_its_settings():
    class Scaling(keras.layers.Layer):
        factor = 1.0

        def __init__(self, factor=1.0, **kwargs):
            super().__init__(**kwargs)
            self.factor = factor

        def call(self, x):
            return x * self.factor

        def get_config(self):
            return {**super().get_config(), "factor": self.factor}

    block = ks.DenseBlock(2, 3, normalization=Scaling(0.5))
    block.build(X.shape)
    block.layer2.norm1.factor = 0.25
    with keras.saving.custom_object_scope({"Scaling": Scaling}):
        copy = ks.DenseBlock.from_config(block.get_config())
    copy.build(X.shape)
    assert (copy.layer1.norm1.factor, copy.layer2.norm1.factor) == (0.5, 0.25)


def quantise(model, mode):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Layer .* does not have a `quantize` method")
        gc.freeze()  # Keras collects garbage after each layer, which takes half a second with all that is imported
        model.quantize(mode)
        gc.unfreeze()
    return [layer for layer in leaves(model) if layer.quantization_mode == mode]


# Keras quantises dense layers, and these have none.
NOT_QUANTISED = (
    ks.BatchNormalization,
    ks.DepthAttention,
    ks.DepthAverage,
    ks.DropPath,
    ks.EfficientChannelAttention,
    ks.LayerScale,
)
QUANTISED = [c for c in CASES if c.cls is ks.StochasticDepth or (c.rank == 0 and c.public not in NOT_QUANTISED)]


ONE_OF_EACH_CLASS = list({c.public: c for c in QUANTISED if BACKEND == "tensorflow" or c in KINDS}.values())


@sweep_layers(QUANTISED, ONE_OF_EACH_CLASS)
def test_a_quantised_model_is_saved_and_loaded(case: Case, tmp_path):
    x = case.data()
    model = keras.Sequential([keras.Input(x.shape[1:]), case.make()])
    before = ops.convert_to_numpy(model(x))
    assert quantise(model, "int8")
    expected = ops.convert_to_numpy(model(x))
    assert np.any(expected != before)
    np.testing.assert_allclose(ops.convert_to_numpy(reloaded(model, tmp_path)(x)), expected, atol=1e-6)


@pytest.mark.once
@pytest.mark.parametrize("mode", ["int4", "float8"])
def test_the_other_modes_that_keras_has_for_dense_layers_too(mode, tmp_path):
    model = keras.Sequential([keras.Input((4,)), ks.DenseBlock(2, 4, survival_prob=0.5), ks.HighwayBlock()])
    assert len(quantise(model, mode)) == 7
    again = reloaded(model, tmp_path)
    assert len([layer for layer in leaves(again) if layer.quantization_mode == mode]) == 7
    np.testing.assert_allclose(ops.convert_to_numpy(again(X)), ops.convert_to_numpy(model(X)), atol=1e-6)


@pytest.mark.once
def test_a_block_itself_says_that_keras_quantises_its_layers():
    block = ks.ResidualBlock(4)
    block.build((None, 4))
    with pytest.raises(NotImplementedError, match="Layer ResidualBlock does not have a `quantize` method"):
        block.quantize("int8")


def float8_scales(**options):
    keras.utils.set_random_seed(0)
    block = ks.ResidualBlock(4, normalization=None, seed=3, **options)
    model = keras.Sequential([keras.Input((4,)), block])
    quantise(model, "float8")
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=JIT)
    losses = [float(model.train_on_batch(X, 0 * X)) for _ in range(8)]
    return losses, [
        float(ops.convert_to_numpy(getattr(block.conv1, name))) for name in ("inputs_scale", "kernel_scale")
    ]


@pytest.mark.skipif(BACKEND == "torch", reason="Keras trains float8 on TensorFlow and JAX")
def test_float8_learns_its_scales_recomputed_and_keeps_them_where_its_branch_is_dropped():
    losses, scales = float8_scales()
    again, same = float8_scales(recompute=True)
    np.testing.assert_allclose(again + same, losses + scales, rtol=1e-4)
    assert max(scales) < 1.0
    losses, scales = float8_scales(survival_prob=0.5)
    assert np.isfinite(losses).all() and len(set(losses)) > 2 and min(scales) > 0


@pytest.mark.once
def test_a_dense_block_loads_what_was_saved_with_a_random_state_that_nothing_drew_from(tmp_path):
    old, new = ks.DenseBlock(2, 3, survival_prob=0.5), ks.DenseBlock(2, 3, survival_prob=0.5)
    old.seed_generator = keras.random.SeedGenerator(1)
    models = [keras.Sequential([keras.Input((4,)), block]) for block in (old, new)]
    models[0].save_weights(tmp_path / "model.weights.h5")
    models[1].load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(ops.convert_to_numpy(models[1](X)), ops.convert_to_numpy(models[0](X)))


@pytest.mark.once
@pytest.mark.parametrize(
    "make",
    [
        lambda: keras.layers.MultiHeadAttention(2, 3),
        lambda: keras.Sequential([keras.layers.Dense(6), keras.layers.Dense(4)]),
        lambda: [keras.layers.Dense(6), keras.layers.Dense(4)],
    ],
    ids=["attention", "sequential", "list"],
)
def test_what_is_frozen_inside_a_skip_stays_frozen(make, tmp_path):
    inputs = keras.Input((5, 4))
    model = keras.Model(inputs, ks.Residual(make(), "deepnorm", depth=2)(inputs))
    part = model.layers[-1].layers[0]
    part = part.layers[0] if isinstance(part, keras.Sequential) else part
    part.trainable = False
    for is_frozen in (False, True):
        if is_frozen:
            model.layers[-1].trainable = False
        left = len(model.trainable_variables)
        assert left == 0 if is_frozen else 0 < left < len(model.variables)
        for copy in (reloaded(model, tmp_path), keras.models.clone_model(model)):
            assert len(copy.trainable_variables) == left


@pytest.mark.once
def test_dense_layers_inside_a_skip_keep_their_lora_and_their_quantisation(tmp_path):
    model = keras.Sequential([keras.Input((4,)), ks.Residual(keras.layers.Dense(4), "pre", gate="review")])
    skip = model.layers[-1]
    for dense in (skip.layer, skip.gate_layer.review_gate):
        dense.enable_lora(2)
        dense.lora_kernel_b.assign(np.ones((2, 4)))
    again = reloaded(model, tmp_path)
    np.testing.assert_array_equal(ops.convert_to_numpy(again(X)), ops.convert_to_numpy(model(X)))
    assert again.layers[-1].layer.lora_enabled and again.layers[-1].gate_layer.review_gate.lora_enabled
    assert len(quantise(again, "int8")) == 2
    quantised = reloaded(again, tmp_path)
    np.testing.assert_allclose(ops.convert_to_numpy(quantised(X)), ops.convert_to_numpy(again(X)), atol=1e-6)
    assert {
        layer.quantization_mode for layer in (quantised.layers[-1].layer, quantised.layers[-1].gate_layer.review_gate)
    } == {"int8"}
