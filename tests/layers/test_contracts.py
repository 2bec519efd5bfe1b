"""What every layer owes its user, tested on every row of the table."""

import inspect
import pickle
import typing

import keras
import numpy as np
import pytest
from keras import ops
from keras.src.testing import TestCase

import keras_skip as ks
from keras_skip._base.config import argument_names
from keras_skip._parts.block import BLOCK_ARGUMENTS, BlockOptions
from keras_skip._parts.branch import BRANCH_ARGUMENTS, BranchOptions
from tests.channels import skip_without_channels_first
from tests.layers.table import (
    CASES,
    KINDS,
    REPRESENTATIVES,
    SENSITIVE_TO_TRACING,
    USUAL,
    WITHOUT_ROWS,
    Case,
    draws,
    one_row_for_each_set_of_options,
    public_classes,
    sweep_layers,
)

BACKEND = keras.backend.backend()
OPTIONS = one_row_for_each_set_of_options()
representative = sweep_layers(REPRESENTATIVES, USUAL)
kinds_first = sweep_layers(CASES, KINDS)
usual = sweep_layers(CASES, USUAL)
options_first = sweep_layers(CASES, OPTIONS)
without_weights = pytest.mark.filterwarnings("ignore:The model does not have any trainable weights:UserWarning")


def random_state(layer: keras.layers.Layer, seed: int = 0) -> None:
    """Gives every float variable values of its own, positive where a variance must be."""
    rng = np.random.default_rng(seed)
    for variable in layer.variables:
        if "float" in str(variable.dtype):
            values = rng.uniform(0.5, 1.5, variable.shape)
            variable.assign(values if "variance" in variable.path else values - 1.0)


def test_the_table_holds_every_public_class():
    assert {cls for case in CASES for cls in case.classes} == set(public_classes())
    for cases in (REPRESENTATIVES, KINDS):
        assert {case.public for case in cases} == set(public_classes()) - WITHOUT_ROWS


@sweep_layers(REPRESENTATIVES, KINDS)
@without_weights
def test_kerass_own_layer_test(case: Case):
    TestCase().run_layer_test(
        case.cls,
        {name: value for name, value in case.make().get_config().items() if name in argument_names(case.cls)},
        input_data=case.data(),
        expected_output_shape=case.make().compute_output_shape(case.shape()),
        expected_num_losses=0,
        supports_masking=case.make().supports_masking,
        # A step under XLA, as test_modes.py takes where nothing is drawn. On JAX, the test of gradients compiles one.
        run_training_check=BACKEND == "tensorflow" and (case not in SENSITIVE_TO_TRACING or draws(case)),
        run_mixed_precision_check=BACKEND == "tensorflow",  # which is tested below, on all
    )


@options_first
@pytest.mark.once
def test_config_holds_every_argument_and_makes_the_same_layer(case: Case):
    layer = case.make(name="given")
    config = layer.get_config()
    assert set(argument_names(case.cls)) <= set(config)
    copy = case.cls.from_config(config)
    assert copy.get_config() == config
    assert copy.name == "given"
    for name, value in case.kwargs.items():
        if isinstance(value, (int, float, str)):
            assert config[name] == value


@pytest.mark.once
@pytest.mark.parametrize("cls", public_classes(), ids=lambda cls: cls.__name__)
def test_signature_names_every_argument_of_the_constructors(cls: type):
    named = set(argument_names(cls))
    for base in cls.__mro__:
        if base.__module__.startswith("keras_skip") and "__init__" in base.__dict__:
            parameters = inspect.signature(base.__dict__["__init__"]).parameters.values()
            own = {p.name for p in parameters if p.name != "self" and p.kind is not p.VAR_KEYWORD}
            assert own <= named
    for name in named:
        assert name in cls.__doc__ or name in ("kwargs",), f"{cls.__name__}: {name} is not documented"


def test_typed_options_are_the_real_ones():
    keras_own = {"name", "dtype", "trainable", "activity_regularizer"}
    assert set(typing.get_type_hints(BlockOptions)) - keras_own == set(BLOCK_ARGUMENTS)
    own = set(BRANCH_ARGUMENTS | BLOCK_ARGUMENTS) - {"kernel_size"}
    assert set(typing.get_type_hints(BranchOptions)) - keras_own == own


@sweep_layers(CASES, [case for case in OPTIONS if case not in KINDS])  # Keras's own test has the shapes of the kinds
@pytest.mark.once
def test_output_shape_is_the_computed_one(case: Case):
    layer, x = case.make(), case.data(3)
    expected = layer.compute_output_shape(x.shape)
    for training in (False, True):
        assert tuple(layer(x, training=training).shape) == tuple(expected)


# The padding, the pooling and the shapes of these are the package's own.
OWN_SHAPES = "residual-symmetric residual-pool-pad preactivation-blur blur-volume bottleneck-resnext residual-causal"


@sweep_layers(CASES, [*USUAL, *(case for case in CASES if case.name in OWN_SHAPES.split())])
def test_channels_first_computes_the_same_as_channels_last(case: Case):
    if not case.takes_data_format or case.name == "residual-layer":
        assert case.public in (
            ks.StochasticDepth,
            ks.DepthAverage,
            ks.ResidualBlock,
            ks.BatchNormalization,
            ks.DropPath,
            ks.LayerScale,
            ks.RecurrentHighway,
            ks.Residual,
            ks.HyperConnection,
            ks.ExpandStreams,
            ks.ReduceStreams,
        )
        return
    skip_without_channels_first()
    last, first = case.make(data_format="channels_last"), case.make(data_format="channels_first")
    x = case.data()
    last.build(x.shape)
    first.build(case.shape(2, "channels_first"))
    random_state(last)
    first.set_weights(last.get_weights())
    expected = ops.convert_to_numpy(last(x))
    x = np.moveaxis(x, -1, 1)
    y, in_training = first(x), first(keras.KerasTensor(x.shape), training=True)
    assert tuple(y.shape) == tuple(in_training.shape) == tuple(first.compute_output_shape(x.shape))
    np.testing.assert_allclose(np.moveaxis(ops.convert_to_numpy(y), 1, -1), expected, rtol=1e-5, atol=1e-5)


@sweep_layers(REPRESENTATIVES, KINDS)
def test_dynamic_batch_and_spatial_sizes(case: Case):
    rank = case.rank
    shape = (*(None,) * rank, *case.shape()[1 + rank :])
    inputs, layer = keras.Input(shape), case.make()
    model = keras.Model(inputs, [layer(inputs, training=training) for training in (True, False)])
    model.compile(jit_compile=BACKEND == "jax")
    for output in model.outputs:
        assert set(output.shape[:-1]) <= {None, getattr(layer, "streams", None)}
    for batch, size in ((2, 6), (3, 9)):
        x = np.ones((batch, *(size,) * rank, *shape[rank:]), "float32")
        for y in model.predict_on_batch(x):
            assert y.shape == tuple(layer.compute_output_shape(x.shape))
            assert np.isfinite(y).all()


@representative
@without_weights
def test_gradients_reach_every_trainable_variable(case: Case):
    layer = case.make(**({"survival_prob": 1.0} if "survival_prob" in argument_names(case.cls) else {}))
    x = case.data(4)
    model = keras.Sequential([keras.Input(x.shape[1:]), layer])
    random_state(layer)
    before = [ops.convert_to_numpy(v) for v in layer.trainable_variables]
    compiled = BACKEND == "jax"
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=compiled, run_eagerly=not compiled)
    rng = np.random.default_rng(1)
    model.train_on_batch(x, rng.normal(size=model.compute_output_shape(x.shape)))
    for variable, old in zip(layer.trainable_variables, before, strict=True):
        assert np.any(ops.convert_to_numpy(variable) != old), f"{variable.path} did not move"


@sweep_layers(REPRESENTATIVES, KINDS)
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_computes_in_half_and_keeps_float32_weights(case: Case, policy: str):
    if BACKEND == "torch" and case.rank == 3:
        pytest.skip("torch has no half-precision 3D pooling on the CPU")
    layer = case.make(dtype=policy)
    x = case.data()
    y = layer(x, training=True)
    assert keras.backend.standardize_dtype(y.dtype) == policy.removeprefix("mixed_")
    assert {v.dtype for v in layer.weights} <= {"float32"}
    exact = case.make()
    exact.build(x.shape)
    exact.set_weights(layer.get_weights())
    difference = np.abs(ops.convert_to_numpy(ops.cast(layer(x), "float32")) - ops.convert_to_numpy(exact(x))).max()
    assert difference < 0.05 * np.abs(ops.convert_to_numpy(exact(x))).max()


@kinds_first
def test_files_and_clones_compute_exactly_the_same(case: Case, tmp_path):
    inputs = keras.Input(case.shape()[1:])
    model = keras.Model(inputs, case.make()(inputs))
    random_state(model)
    x = case.data()
    y = ops.convert_to_numpy(model(x))
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(ops.convert_to_numpy(keras.saving.load_model(tmp_path / "model.keras")(x)), y)
    np.testing.assert_array_equal(ops.convert_to_numpy(pickle.loads(pickle.dumps(model.layers[-1]))(x)), y)
    clone = keras.models.clone_model(model)
    assert not {id(w) for w in clone.weights} & {id(w) for w in model.weights}
    assert not clone.weights or np.any(ops.convert_to_numpy(clone(x)) != y)
    model.save_weights(tmp_path / "model.weights.h5")
    clone.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(ops.convert_to_numpy(clone(x)), y)


@kinds_first
@pytest.mark.once
def test_a_frozen_layer_stays_frozen_in_files_and_clones_and_can_be_made_so(case: Case, tmp_path):
    inputs = keras.Input(case.shape()[1:])
    model = keras.Model(inputs, case.make()(inputs))
    model.layers[-1].trainable = False
    model.save(tmp_path / "model.keras")
    made = case.make(trainable=False)
    made.build(case.shape())
    again = [keras.saving.load_model(tmp_path / "model.keras"), keras.models.clone_model(model)]
    for layer in (made, *[copy.layers[-1] for copy in again]):
        before = layer.get_weights()
        layer(case.data(), training=True)
        assert layer.trainable_variables == []
        for old, new in zip(before, layer.get_weights(), strict=True):
            np.testing.assert_array_equal(new, old)


def unused_states(layer: keras.layers.Layer) -> set[str]:
    """The random states from which nothing draws: on torch, Keras's dropout without a seed draws from torch's own."""
    if BACKEND != "torch":
        return set()
    dropouts = [each for each in layer._flatten_layers() if type(each) is keras.layers.Dropout and each.rate]
    return {each.seed_generator.state.path for each in dropouts if each.seed is None and each.noise_shape is None}


@kinds_first
def test_random_seed_repeats_weights_and_training_draws(case: Case):
    runs = []
    for _ in range(2):
        keras.utils.set_random_seed(11)
        layer = case.make()
        layer.build(case.shape())
        start = {v.path: np.array(ops.convert_to_numpy(v)) for v in layer.variables if "seed" in v.path}
        for path in unused_states(layer):
            del start[path]
        count = 6 if start else 1
        y = [ops.convert_to_numpy(layer(case.data(4), training=True)) for _ in range(count)]
        runs.append([*layer.get_weights(), *y])
    for a, b in zip(*runs, strict=True):
        np.testing.assert_array_equal(a, b)
    for variable in layer.variables:
        if variable.path in start:
            state = ops.convert_to_numpy(variable)
            assert np.any(state != start[variable.path]), f"nothing draws from {variable.path}"


@usual
@pytest.mark.once
def test_sub_layers_have_fixed_names(case: Case):
    paths = []
    for _ in range(2):
        layer = case.make(name="block")
        layer.build(case.shape())
        paths.append([v.path for v in layer.weights])
    # A layer of the user's own brings its own name.
    if "layer" not in case.kwargs and not callable(case.kwargs.get("shortcut")):
        assert paths[0] == paths[1]
    assert len(set(paths[0])) == len(paths[0])
