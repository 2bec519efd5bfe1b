"""Gates of a skip against their equations in NumPy, alone and inside `Residual`, and which of them read what."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_skip as ks
from keras_skip.highway import recorded_gates
from tests.channels import skip_without_channels_first
from tests.layers.test_contracts import random_state
from tests.layers.test_equations import built, check, conv, sigmoid
from tests.layers.test_residual import data, dense, make, normalise


def highway(g, x, u):
    t = sigmoid(conv(x, g.transform_gate))
    return t * u + (1 - t if g.carry == "coupled" else sigmoid(conv(x, g.carry_gate))) * x


def review(g, x, u):
    def rms(z):
        return z / np.sqrt(np.mean(z**2, axis=-1, keepdims=True) + 1e-6)

    return x + sigmoid(conv(np.concatenate([rms(x), rms(u)], axis=-1), g.review_gate)) * u


def laurel(g, x, u, earlier=()):
    a, b = 1.0, 1.0
    if "rw" in g.form:
        weigh = np.exp(ops.convert_to_numpy(g.weigh))
        a, b = weigh / weigh.sum()
    carried = x
    if "lr" in g.form:
        carried = carried + conv(conv(x, g.low_rank_down), g.low_rank_up)
    if "pa" in g.form:
        total = sum(c * each for c, each in zip(ops.convert_to_numpy(g.earlier_scale), earlier, strict=True))
        carried = carried + conv(conv(total, g.earlier_down), g.earlier_up)
    return a * u + b * carried


@keras.saving.register_keras_serializable("test_gates")
class Largest(keras.layers.Layer):
    def call(self, x, update):
        return ops.maximum(x, update)


GATES = {
    "highway": highway,
    ks.HighwayGate("coupled"): highway,
    "review": review,
    "laurel": laurel,
    ks.LaurelGate("lr", rank=2): laurel,
    ks.LaurelGate("rw+lr", rank=3): laurel,
    Largest(): lambda g, x, u: np.maximum(x, u),
}
NAMES = [gate if isinstance(gate, str) else f"{gate.name}-{getattr(gate, 'form', '')}" for gate in GATES]


@pytest.mark.parametrize("gate", GATES, ids=NAMES)
@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_a_gate_takes_the_place_of_the_sum(gate, rank):
    x = data(rank)
    r = built(make("peri", gate=gate, branch_scale=0.5), x)
    n1, n2, _ = normalise(r)
    check(r, x, GATES[gate](r.gate_layer, x, 0.5 * n2(dense(r.layer)(n1(x)))))
    assert r.gate_layer is not gate and r.gate_layer.name == "gate_layer"


@pytest.mark.parametrize("gate", ["highway", "review", "laurel"])
def test_a_gate_gets_the_weighted_skip_and_the_norm_follows_it(gate):
    x = data(1)
    r = built(make("deepnorm", gate=gate, shortcut=keras.layers.Dense(6)), x)
    skip = 6**0.25 * conv(x, r.shortcut)
    check(r, x, normalise(r)[2](GATES[gate](r.gate_layer, skip, dense(r.layer)(x))), training=True)


@pytest.mark.parametrize("form", ["pa", "rw+pa", "rw+lr+pa"])
def test_laurel_maps_earlier_activations(form):
    x, *earlier = (data(1, seed) for seed in range(3))
    r = make(gate=ks.LaurelGate(form, rank=2))
    inputs = [z.astype("float32") for z in earlier]
    r.build(x.shape, earlier_shape=[x.shape] * 2)
    random_state(r)
    check(r, x, laurel(r.gate_layer, x, dense(r.layer)(x), earlier), earlier=inputs)
    assert r.gate_layer.earlier_scale.shape == (2,)


def test_laurel_starts_as_half_the_sum_or_as_the_sum_and_of_earlier_ones_takes_each_whole():
    x, u, earlier = (data(0, seed).astype("float32") for seed in range(3))
    starts = {"rw": (x + u) / 2, "lr": x + u, "pa": x + u, "rw+lr+pa": (x + u) / 2}
    for form, expected in starts.items():
        gate = ks.LaurelGate(form)
        y = gate(x, u, [earlier]) if "pa" in form else gate(x, u)
        np.testing.assert_allclose(ops.convert_to_numpy(y), expected, rtol=1e-5, atol=1e-6)
        if "pa" in form:
            assert ops.convert_to_numpy(gate.earlier_scale).tolist() == [1.0]
            assert np.any(ops.convert_to_numpy(gate.earlier_down.kernel)) and gate.earlier_down.units == 8


def test_gates_start_at_the_biases_that_they_are_told():
    gate = ks.HighwayGate(transform_bias=-1, carry_bias=3)
    transform, carry = (ops.convert_to_numpy(g) for g in gate.gates(np.zeros((1, 5, 8))))
    np.testing.assert_allclose(transform, sigmoid(-1.0), rtol=1e-5)
    np.testing.assert_allclose(carry, sigmoid(3.0), rtol=1e-5)
    default = [float(ops.convert_to_numpy(g)[0, 0]) for g in ks.HighwayGate().gates(np.zeros((1, 8)))]
    np.testing.assert_allclose(default, [sigmoid(-2.0), sigmoid(2.0)], rtol=1e-5)


def test_the_gates_of_a_residual_are_recorded():
    layer = make(gate="highway")
    x = data(1).astype("float32")
    with recorded_gates() as gates:
        layer(x)
    ((owner, *given),) = gates
    assert owner is layer.gate_layer
    for one, expected in zip(given, owner.gates(x), strict=True):
        np.testing.assert_allclose(ops.convert_to_numpy(one), ops.convert_to_numpy(expected), rtol=1e-5)


def test_a_review_gate_learns_a_bias_and_low_rank_maps_none():
    counts = []
    for gate in (ks.ReviewGate(), ks.LaurelGate("lr", rank=2)):
        gate.build((None, 4), (None, 4))
        counts.append(gate.count_params())
    assert counts == [2 * 4 * 4 + 4, 2 * 4 * 2]


def test_a_review_gate_divides_by_the_root_mean_square_in_float32():
    x = np.full((2, 4), 300.0, "float32")  # whose square is too large for float16
    exact, half = ks.ReviewGate(), ks.ReviewGate(dtype="mixed_float16")
    y = ops.convert_to_numpy(exact(x, x))
    half.build(x.shape)
    half.set_weights(exact.get_weights())
    np.testing.assert_allclose(ops.convert_to_numpy(half(x, x)).astype("float32"), y, rtol=0.01)


@pytest.mark.parametrize("gate", [ks.HighwayGate, ks.ReviewGate, lambda **o: ks.LaurelGate("rw+lr", **o)])
def test_the_channels_of_a_gate_can_come_first(gate):
    skip_without_channels_first()
    last, first = gate(), gate(data_format="channels_first")
    x, u = data(2), data(2, seed=1)
    built(last, x)
    first.build((3, 6, 5, 4))
    first.set_weights(last.get_weights())
    expected = ops.convert_to_numpy(last(*(z.astype("float32") for z in (x, u))))
    received = ops.convert_to_numpy(first(*(np.moveaxis(z, -1, 1).astype("float32") for z in (x, u))))
    np.testing.assert_allclose(np.moveaxis(received, 1, -1), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "gate", [ks.HighwayGate(), ks.ReviewGate(), ks.LaurelGate("rw+lr")], ids=lambda gate: gate.name
)
def test_a_gate_is_a_layer_of_two_inputs_which_passes_on_shape_and_mask(gate):
    x, u = keras.Input((None, 6)), keras.Input((None, 6))
    assert gate(x, u).shape == (None, None, 6) and gate.compute_output_shape((3, 5, 6), (3, 5, 6)) == (3, 5, 6)
    tokens = keras.Input((None,), dtype="int32")
    y = gate(keras.layers.Embedding(4, 6, mask_zero=True)(tokens), u)
    model = keras.Model([tokens, u], keras.layers.GlobalAveragePooling1D()(y))
    short, update = np.array([[1, 2, 0, 0]]), data(1)[:1, :4].astype("float32")
    alone = ops.convert_to_numpy(model([short[:, :2], update[:, :2]]))
    np.testing.assert_allclose(ops.convert_to_numpy(model([short, update])), alone, rtol=1e-5, atol=1e-6)
