"""Recurrent highway layers against the paper's equation in NumPy, and what Keras's recurrent layers can do."""

import json

import keras
import numpy as np
import pytest
from keras import ops

import keras_skip as ks
from tests.layers.test_contracts import random_state
from tests.layers.test_equations import sigmoid
from tests.layers.test_normalization import gradients

BACKEND = keras.backend.backend()
JIT = BACKEND != "torch"
B, T, C, UNITS = 3, 6, 4, 5
RNG = np.random.default_rng(0)
X = RNG.normal(size=(B, T, C)).astype("float32")
STATE = RNG.normal(size=(B, UNITS)).astype("float32")
MASK = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 0, 0, 1, 1, 0]], bool)
BOTH = pytest.mark.parametrize("carry", ["learned", "coupled"])


def numpy(x):
    return np.array(ops.convert_to_numpy(x))


def built(layer, shape=X.shape):
    layer.build(shape)
    random_state(layer)
    return layer


def parts(cell):
    """W_H, W_T, ... and, for each depth, R_H, R_T, ... and b_H, b_T, ..."""
    count = 3 if cell.carry == "learned" else 2
    kernels = np.split(numpy(cell.kernel), count, axis=1)
    depths = [
        (np.split(numpy(kernel), count, axis=1), np.split(numpy(bias), count))
        for kernel, bias in zip(cell.recurrent_kernels, cell.biases, strict=True)
    ]
    return kernels, depths


def by_equation(cell, x, state=None, mask=None, x_mask=1.0, s_mask=1.0):
    """The outputs at all steps, (B, T, units)."""
    w, depths = parts(cell)
    s = np.zeros((len(x), cell.units)) if state is None else state.astype("float64")
    outputs = []
    for step in range(x.shape[1]):
        new = s
        for d, (r, b) in enumerate(depths):
            z = [(new * s_mask) @ r_g + b_g for r_g, b_g in zip(r, b, strict=True)]
            if d == 0:
                z = [z_g + (x[:, step] * x_mask) @ w_g for z_g, w_g in zip(z, w, strict=True)]
            h, t = np.tanh(z[0]), sigmoid(z[1])
            c = sigmoid(z[2]) if len(z) == 3 else 1 - t
            new = h * t + new * c
        s = new if mask is None else np.where(mask[:, step, None], new, s)
        outputs.append(s)
    return np.stack(outputs, axis=1)


def check(received, expected):
    np.testing.assert_allclose(numpy(received), expected, rtol=1e-5, atol=1e-5)


@BOTH
@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("unroll", [False, True])
def test_it_computes_the_papers_equation(carry, depth, unroll):
    layer = built(ks.RecurrentHighway(UNITS, depth, carry, return_sequences=True, unroll=unroll))
    check(layer(X), by_equation(layer.cell, X))
    check(layer(X, initial_state=[STATE]), by_equation(layer.cell, X, STATE))


def test_the_coupled_form_agrees_with_the_authors_formula():
    layer = built(ks.RecurrentHighway(UNITS, 3, "coupled", return_sequences=True))
    (w_h, w_t), depths = parts(layer.cell)
    state = STATE
    for step in range(T):
        for d, ((r_h, r_t), (b_h, b_t)) in enumerate(depths):
            read = np.concatenate([X[:, step], state], axis=1) if d == 0 else state
            matrix_h, matrix_t = (np.concatenate([w_h, r_h]), np.concatenate([w_t, r_t])) if d == 0 else (r_h, r_t)
            state = (np.tanh(read @ matrix_h + b_h) - state) * sigmoid(read @ matrix_t + b_t) + state
        check(layer(X, initial_state=[STATE])[:, step], state)


@pytest.mark.once
@BOTH
def test_it_starts_close_to_the_identity(carry):
    cell = ks.RecurrentHighwayCell(UNITS, 2, carry, bias_initializer="ones")
    cell.build((None, C))
    for _, (b_h, *of_gates) in parts(cell)[1]:
        np.testing.assert_array_equal(b_h, np.ones(UNITS))
        np.testing.assert_array_equal(of_gates, [np.full(UNITS, b) for b in (-2.0, 2.0)[: len(of_gates)]])
    assert cell.count_params() == (3 if carry == "learned" else 2) * (C * UNITS + 2 * (UNITS**2 + UNITS))


@pytest.mark.once
def test_each_gate_starts_with_its_own_bias():
    for cls in (ks.RecurrentHighway, ks.RecurrentHighwayCell):
        layer = cls(UNITS, 1, transform_bias=-3.0, carry_bias=0.5)
        layer.build((None, T, C) if cls is ks.RecurrentHighway else (None, C))
        (bias,) = getattr(layer, "cell", layer).biases
        np.testing.assert_array_equal(numpy(bias), np.repeat([0.0, -3.0, 0.5], UNITS))


@pytest.mark.once
def test_each_depth_draws_its_own_kernel_even_from_one_seed():
    cell = ks.RecurrentHighwayCell(UNITS, 3, recurrent_initializer=keras.initializers.GlorotUniform(seed=1))
    cell.build((None, C))
    first, second, third = (numpy(kernel) for kernel in cell.recurrent_kernels)
    assert np.any(first != second) and np.any(second != third) and np.any(first != third)


def test_activations_regularizers_and_constraints_are_those_of_their_weights():
    options = {f"{name}_regularizer": keras.regularizers.L1(i + 1) for i, name in enumerate(("kernel", "recurrent"))}
    layer = built(ks.RecurrentHighway(UNITS, 2, **options, bias_regularizer="l2", bias_constraint="non_neg"))
    cell = layer.cell
    expected = np.abs(numpy(cell.kernel)).sum() + 2 * sum(np.abs(numpy(each)).sum() for each in cell.recurrent_kernels)
    expected += 0.01 * sum((numpy(each) ** 2).sum() for each in cell.biases)
    np.testing.assert_allclose(sum(numpy(loss) for loss in layer.losses), expected, rtol=1e-5)
    assert [each.constraint is None for each in cell.weights] == [True, True, False, True, False]
    relu = built(ks.RecurrentHighway(UNITS, 1, activation="relu", recurrent_activation="hard_sigmoid"))
    (w, ((r, b),)) = parts(relu.cell)
    z = [X[:, 0] @ w_g + b_g for w_g, b_g in zip(w, b, strict=True)]
    check(relu(X[:, :1]), np.maximum(z[0], 0) * np.clip(z[1] / 6 + 0.5, 0, 1))


@BOTH
@pytest.mark.parametrize("unroll", [False, True])
def test_a_masked_step_carries_the_state(carry, unroll):
    layer = built(ks.RecurrentHighway(UNITS, 2, carry, return_sequences=True, return_state=True, unroll=unroll))
    y, state = layer(X, mask=MASK)
    expected = by_equation(layer.cell, X, mask=MASK)
    check(y, expected)
    check(state, expected[:, -1])
    for row, kept in enumerate(MASK):
        check(state[row], numpy(layer(X[row : row + 1, kept])[1])[0])


def test_the_mask_of_the_input_is_used_and_passed_on():
    x = keras.Input((T, C))
    layer = ks.RecurrentHighway(UNITS, return_sequences=True)
    pooled = keras.layers.GlobalAveragePooling1D()(layer(keras.layers.Masking()(x)))
    random_state(layer)
    y = by_equation(layer.cell, X, mask=MASK)
    expected = (y * MASK[..., None]).sum(axis=1) / MASK.sum(axis=1, keepdims=True)
    check(keras.Model(x, pooled)(X * MASK[..., None]), expected)


def test_stacked_cells_each_carry_their_state_over_masked_steps():
    cells = [ks.RecurrentHighwayCell(7, 2), ks.RecurrentHighwayCell(UNITS, 1, "coupled")]
    layer = built(keras.layers.RNN(cells, return_sequences=True, return_state=True))
    y, *states = layer(X, mask=MASK)
    first = by_equation(cells[0], X, mask=MASK)
    expected = by_equation(cells[1], first, mask=MASK)
    check(y, expected)
    for state, last in zip(states, (first, expected), strict=True):
        check(state[0] if isinstance(state, (list, tuple)) else state, last[:, -1])


@BOTH
def test_a_bidirectional_layer_reads_both_ways(carry):
    layer = built(keras.layers.Bidirectional(ks.RecurrentHighway(UNITS, 2, carry, return_sequences=True)))
    forward, backward = layer.forward_layer.cell, layer.backward_layer.cell
    there, back = by_equation(forward, X), by_equation(backward, X[:, ::-1])[:, ::-1]
    check(layer(X), np.concatenate([there, back], axis=-1))
    assert np.any(numpy(forward.kernel) != numpy(backward.kernel))


def test_a_backwards_layer_returns_the_reversed_sequence():
    layer = built(ks.RecurrentHighway(UNITS, return_sequences=True, go_backwards=True))
    check(layer(X), by_equation(layer.cell, X[:, ::-1]))


def test_a_stateful_layer_resumes_from_its_last_state():
    layer = built(ks.RecurrentHighway(UNITS, return_sequences=True, stateful=True))
    layer.reset_state()
    expected = by_equation(layer.cell, X)
    check(layer(X[:, :2]), expected[:, :2])
    check(layer(X[:, 2:]), expected[:, 2:])
    layer.reset_state()
    check(layer(X), expected)


def test_the_cell_alone_computes_one_step_and_keeps_the_form_of_its_states():
    cell = built(ks.RecurrentHighwayCell(UNITS), (B, C))
    expected = by_equation(cell, X[:, :1], STATE)[:, 0]
    y, state = cell(X[:, 0], STATE)
    check(y, expected)
    check(state, expected)
    y, states = cell(X[:, 0], [STATE])
    assert isinstance(states, list)
    check(states[0], expected)


# Input dropout is seen where the output is the input of the step: h = x + 0 s, t = 1, and nothing is carried on. State
# dropout is seen where h = s: then each depth of each step multiplies the state by the mask.
def transparent(which, depth=1, rate=0.5):
    options = {"dropout": rate} if which == "input" else {"recurrent_dropout": rate}
    layer = ks.RecurrentHighway(
        64, depth, "coupled", 50.0, activation="linear", return_sequences=True, seed=3, **options
    )
    layer.build((B, T, 64))
    eye, nothing = np.eye(64), np.zeros((64, 64))
    layer.cell.kernel.assign(np.concatenate([eye if which == "input" else nothing, nothing], axis=1))
    for kernel in layer.cell.recurrent_kernels:
        kernel.assign(np.concatenate([nothing if which == "input" else eye, nothing], axis=1))
    return layer


class Training(keras.Model):
    """Runs its layer as in training."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def call(self, inputs):
        x, state = inputs
        return self.layer(x, initial_state=[state], training=True)


def compiled(layer):
    model = Training(layer)
    model.compile(jit_compile=JIT)
    return lambda: model.predict_on_batch([np.ones((B, T, 64), "float32"), np.ones((B, 64), "float32")])


def eagerly(layer):
    return lambda: numpy(layer(np.ones((B, T, 64), "float32"), initial_state=[np.ones((B, 64))], training=True))


RUNS = pytest.mark.parametrize("run", [eagerly, compiled])


@RUNS
def test_all_steps_drop_the_same_inputs(run):
    y = run(transparent("input", rate=0.25))()
    np.testing.assert_allclose(np.unique(np.round(y, 4)), [0.0, np.round(1 / 0.75, 4)], rtol=1e-4)
    for step in range(1, T):
        np.testing.assert_array_equal(y[:, step], y[:, 0])
    assert np.any(y[0] != y[1])
    assert abs(y.mean() - 1) < 0.15


@RUNS
@pytest.mark.parametrize("depth", [1, 2])
def test_all_steps_and_depths_drop_the_same_states(run, depth):
    y = run(transparent("state", depth))()
    mask = y[:, 0] > 0
    assert 0.3 < mask.mean() < 0.7 and np.any(mask[0] != mask[1])
    for step in range(T):
        np.testing.assert_allclose(y[:, step], mask * 2.0 ** (depth * (step + 1)), rtol=1e-4)


@pytest.mark.parametrize("which", ["input", "state"])
def test_each_call_draws_new_masks_and_a_seed_repeats_them(which):
    run, again = eagerly(transparent(which)), eagerly(transparent(which))
    first, second = run(), run()
    assert np.any(first != second)
    np.testing.assert_array_equal([again(), again()], [first, second])


def test_dropout_is_that_of_the_equation_and_the_carried_state_is_not_dropped():
    layer = built(ks.RecurrentHighway(UNITS, 2, dropout=0.5, recurrent_dropout=0.5, return_sequences=True, seed=1))
    cell, drawn = layer.cell, []
    draw = cell._draw

    def record(x, rate):
        drawn.append(draw(x, rate))
        return drawn[-1]

    cell._draw = record
    y = layer(X, training=True)
    x_mask, s_mask = (numpy(mask) for mask in drawn)
    assert x_mask.shape == (B, C) and s_mask.shape == (B, UNITS)
    check(y, by_equation(cell, X, x_mask=x_mask, s_mask=s_mask))
    check(layer(X), by_equation(cell, X))


def test_a_cell_that_was_called_alone_keeps_no_mask_for_other_batches():
    cell = ks.RecurrentHighwayCell(UNITS, dropout=0.5, recurrent_dropout=0.5, seed=1)
    ones = np.ones((B, C), "float32")
    alone = [numpy(cell(ones, STATE, training=True)[0]) for _ in range(2)]
    assert np.any(alone[0] != alone[1])
    layer = keras.layers.RNN(cell)
    for count in (B, 1):
        assert layer(X[:count], training=True).shape == (count, UNITS)
        assert cell(ones[:2], STATE[:2], training=True)[0].shape == (2, UNITS)
        assert np.any(numpy(layer(X[:1], training=True)) != numpy(layer(X[:1])))


@BOTH
def test_gradients_match_differences_of_the_equation(carry):
    layer = built(ks.RecurrentHighway(UNITS, 3, carry, return_sequences=True))
    weights = layer.trainable_variables
    along = RNG.normal(size=(B, T, UNITS))
    _, *found = gradients(layer, X, along.astype("float32"))
    values, step = [numpy(w).astype("float64") for w in weights], 1e-2
    for i, weight in enumerate(weights):
        direction, losses = RNG.normal(size=weight.shape), []
        for sign in (1, -1):
            weight.assign(values[i] + sign * step * direction)
            losses.append((by_equation(layer.cell, X) * along).sum())
        weight.assign(values[i])
        expected = (losses[0] - losses[1]) / (2 * step)
        np.testing.assert_allclose((found[i] * direction).sum(), expected, rtol=1e-2, atol=1e-2)


@pytest.mark.once
def test_it_learns_handwritten_digits_row_by_row():
    from sklearn.datasets import load_digits

    keras.utils.set_random_seed(0)
    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8) / 16).astype("float32")
    model = keras.Sequential(
        [
            keras.Input((None, 8)),
            ks.RecurrentHighway(48, 3, "coupled", transform_bias=-1.0, dropout=0.05, recurrent_dropout=0.05),
            keras.layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-2), loss, metrics=["accuracy"], jit_compile=BACKEND == "jax")
    model.fit(images[:1500], labels[:1500], batch_size=64, epochs=6, verbose=0)
    assert model.evaluate(images[1500:], labels[1500:], verbose=0)[1] > 0.8


@pytest.mark.parametrize(
    "make",
    [
        lambda **options: ks.RecurrentHighway(UNITS, 2, return_sequences=True, **options),
        lambda **options: keras.layers.RNN(ks.RecurrentHighwayCell(UNITS, 2, **options), return_sequences=True),
        lambda **options: keras.layers.RNN([ks.RecurrentHighwayCell(n, 1, "coupled", **options) for n in (7, 5)]),
        lambda **options: keras.layers.Bidirectional(ks.RecurrentHighway(UNITS, zero_output_for_mask=True, **options)),
    ],
    ids=["layer", "cell", "stacked", "bidirectional"],
)
def test_the_layer_and_the_cell_alone_survive_saving(make, tmp_path):
    options = {"transform_bias": -1.0, "dropout": 0.5, "recurrent_dropout": 0.5, "seed": 4}
    options["recurrent_initializer"] = keras.initializers.Orthogonal(0.5)
    model = keras.Sequential([keras.Input((None, C)), make(**options)])
    random_state(model)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert json.dumps(again.get_config()) == json.dumps(model.get_config())
    np.testing.assert_array_equal(numpy(again(X)), numpy(model(X)))
    np.testing.assert_array_equal(numpy(again(X, training=True)), numpy(model(X, training=True)))


@pytest.mark.once
def test_a_frozen_cell_stays_frozen():
    layer = ks.RecurrentHighway(UNITS)
    layer.build(X.shape)
    layer.cell.trainable = False
    copy = ks.RecurrentHighway.from_config(layer.get_config())
    copy.build(X.shape)
    assert copy.trainable and copy.trainable_variables == []


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_masks_are_drawn_in_half_precision_too(dtype):
    layer = ks.RecurrentHighway(UNITS, dropout=0.5, recurrent_dropout=0.5, dtype=dtype)
    y = layer(X, training=True)
    assert keras.backend.standardize_dtype(y.dtype) == layer.cell.compute_dtype == dtype.removeprefix("mixed_")
    assert {weight.dtype for weight in layer.weights} == {"float32"}
