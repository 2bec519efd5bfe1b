"""What inputs are drawn, as a model's own graph tells it."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import export
from export.model.inputs import draw_inputs
from export.model.wrapping import make_endpoint
from tests.export.models import Function

pytestmark = pytest.mark.usefixtures("in_this_process")


def drawn(model, samples=None):
    """All random values of each input."""
    inputs = make_endpoint(model, samples=samples).inputs
    known = None if samples is None else {raw.name: samples[raw.name] for raw in inputs}
    batches = draw_inputs(inputs, (1, 2, 7, 32), 0, known).values()
    return {raw.name: np.concatenate([batch[raw.name].ravel() for batch in batches]) for raw in inputs}


def of(x, *ys):
    return keras.Model(x, list(ys))


class Tables(keras.Model):
    """Looks the same numbers up in several ways; nothing of it is a functional graph."""

    def __init__(self):
        super().__init__()
        self.small, self.large = layers.Embedding(11, 2), layers.Embedding(500, 2)

    def call(self, inputs):
        first, second, other = inputs["first"], inputs["second"], inputs["other"]
        return self.small(ops.reshape(first, (-1, 4))) + self.large(second + 1) + ops.cast(other, "float32")[..., None]


def test_each_input_has_the_range_of_its_own_table():
    a, b = keras.Input((4,), dtype="int32", name="a"), keras.Input((4,), dtype="int64", name="b")
    c, d = keras.Input((4,), dtype="int32", name="c"), keras.Input((4,), dtype="int32", name="d")
    model = of(
        [a, b, c, d],
        layers.Embedding(1000, 3)(a),
        layers.Embedding(2, 3)(b),
        ops.one_hot(c, 6),
        ops.take(np.ones((9, 2), "float32"), d, axis=0),
    )
    values = drawn(model)
    bounds = {name: (x.min(), x.max()) for name, x in values.items()}
    assert bounds == {"a": (0, 999), "b": (0, 1), "c": (0, 5), "d": (0, 8)}
    # From everywhere in the table.
    assert len(np.unique(values["a"] // 100)) == 10


def test_the_smaller_of_two_tables_bounds_what_is_looked_up_in_both():
    x = keras.Input((4,), dtype="int32", name="x")
    values = drawn(of(x, layers.Embedding(300, 3)(x), layers.Embedding(7, 3)(x)))
    assert (values["x"].min(), values["x"].max()) == (0, 6)


def test_tables_of_a_subclass_are_found_in_its_graph():
    zeros = np.zeros((3, 4), "int32")
    samples = {"first": zeros, "second": zeros, "other": zeros + np.arange(4, dtype="int32")}
    model = Tables()
    model(samples)
    values = drawn(model, samples)
    assert values["first"].max() == 10 and 200 < values["second"].max() < 499
    assert (values["other"].min(), values["other"].max()) == (0, 3)


def test_a_mask_of_ones_is_drawn_with_zeros_and_never_leaves_nothing():
    x, mask = keras.Input((6, 2), name="x"), keras.Input((6,), dtype="int32", name="mask")
    model = of([x, mask], x * ops.cast(mask, "float32")[..., None])
    samples = {"x": np.ones((2, 6, 2), "float32"), "mask": np.ones((2, 6), "int32")}
    masks = drawn(model, samples)["mask"].reshape(-1, 6)
    assert set(np.unique(masks)) == {0, 1} and (masks.sum(axis=1) > 0).all()


@pytest.mark.parametrize(
    ("make", "mean", "std"),
    [
        (lambda x: layers.Rescaling(1 / 255)(x), 0.0, 255.0),
        (lambda x: layers.Rescaling(1 / 127.5, offset=-1)(x), 127.5, 127.5),
        (lambda x: layers.Normalization(mean=[1.0, 2.0, -3.0], variance=[4.0, 4.0, 4.0])(x), 0.0, 2.9),
        (lambda x: layers.Rescaling(10.0)(layers.Normalization(mean=[5.0] * 3, variance=[1e4] * 3)(x)), 5.0, 10.0),
        (lambda x: layers.Dense(3)(x), 0.0, 1.0),
    ],
    ids=["pixels", "pixels from -1 to 1", "normalization", "both", "neither"],
)
def test_floats_leave_the_standard_normal_where_the_model_rescales(make, mean, std):
    x = keras.Input((40, 3), name="x")
    values = drawn(of(x, layers.Dense(2)(make(x))))["x"]
    assert values.mean() == pytest.approx(mean, abs=0.1 * std)
    assert values.std() == pytest.approx(std, rel=0.1)


def test_a_weight_is_no_scale_of_the_input():
    x = keras.Input((3,), name="x")
    scaled = layers.EinsumDense("...a,a->...a", (3,), kernel_initializer=keras.initializers.Constant(1e-3))(x)
    values = drawn(of(x, layers.Rescaling(1.0)(scaled)))["x"]
    assert values.std() == pytest.approx(1.0, rel=0.3)


def test_two_sequences_and_both_sides_of_images_have_different_sizes():
    one, two = keras.Input((None, 4), name="one"), keras.Input((None, 4), name="two")
    image = keras.Input((None, None, 3), name="image")
    pooled = [layers.GlobalAveragePooling1D()(x) for x in (one, two)] + [layers.GlobalAveragePooling2D()(image)]
    inputs = make_endpoint(of([one, two, image], *pooled)).inputs
    sizes = [n for raw in inputs for n, dynamic in zip(raw.example(-1), raw.shape[1:], strict=True) if dynamic is None]
    assert len(set(sizes)) == 4


def test_sizes_that_have_to_be_equal_are():
    one, two = keras.Input((None, 4), name="one"), keras.Input((None, 4), name="two")
    inputs = make_endpoint(of([one, two], layers.Dense(2)(one + two))).inputs
    assert inputs[0].example(-1) == inputs[1].example(-1) != inputs[0].example()


def test_half_precision_is_held_to_the_original(tmp_path):
    keras.utils.set_random_seed(0)

    class Unfaithful(layers.Layer):
        """Computes otherwise in float32."""

        def call(self, x):
            return x * (1.0 if self.compute_dtype == "float32" else 2.0)

    keras.saving.register_keras_serializable("tests.ranges")(Unfaithful)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        x = keras.Input((4,))
        model = of(x, layers.Activation("linear", dtype="float32")(Unfaithful()(layers.Dense(3)(x))))
    finally:
        keras.config.set_dtype_policy(before)
    with pytest.raises(export.ParityError, match="its float32 copy against Keras in mixed_bfloat16"):
        export.to_onnx(model, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_functions_of_rounding_alone_do_not_move_what_is_compared():
    x = keras.Input((4,), name="x")
    model = of(x, Function(lambda x: 2 * x)(x))
    first, second = (drawn(model)["x"] for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(("real", "bounds"), [([1, 5], (1, 5)), ([4, 4], (0, 3)), (None, (0, 3))])
def test_shifted_indices_stay_inside_their_table(real, bounds):
    start, x = keras.Input((), dtype="int32", name="start"), keras.Input((3,), dtype="int32", name="x")
    positions = Function(lambda start: start[:, None] + ops.arange(3))(start)
    model = of([start, x], layers.Embedding(8, 2)(positions), layers.Embedding(9, 2)(x))
    samples = None if real is None else {"start": np.array(real), "x": np.array([[1, 2, 3], [4, 5, 6]])}
    values = drawn(model, samples)
    assert {name: (x.min(), x.max()) for name, x in values.items()} == {"start": bounds, "x": (0, 8)}
