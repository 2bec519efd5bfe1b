"""The networks for tables: their equations, what they do with numbers and categories, and that they learn."""

import keras
import numpy as np
import pytest
import sklearn.datasets
import sklearn.preprocessing

import zoo
from zoo.networks.counting import count
from zoo.networks.tables.adaptation import adapt
from zoo.networks.tables.mlp import tabular_densenet, tabular_highway
from zoo.networks.tables.resnet import tabular_resnet
from zoo.training.learner import precision

BUILDERS = [tabular_resnet, tabular_highway, tabular_densenet]
FEATURES = 5
SMALL = {"classes": 3, "depth": 2, "width": 8}
every_builder = pytest.mark.parametrize("builder", BUILDERS)


def make_rows(count=200, features=FEATURES):
    """Rows on different scales, and one column that is far from normal."""
    rows = np.random.default_rng(0).normal(size=(count, features)) * 10.0 ** np.arange(features) + 7
    rows[:, 0] = np.exp(rows[:, 0] - 7)
    return rows.astype("float32")


def scaled(model, rows):
    """What the first layer of a network without categories sees."""
    return keras.ops.convert_to_numpy(keras.Model(model.input, model.get_layer("stem").input)(rows))


def logits(model, rows):
    return keras.ops.convert_to_numpy(model(rows, training=False))


def test_parameters_by_arithmetic():
    # The table of Covertype: 54 columns, 7 classes. A normalisation of n units has 2n parameters.
    width, inner, columns, classes = 128, 256, 54, 7
    block = 2 * width + width * inner + inner + inner * width + width
    resnet = (columns + 1) * width + 4 * block + 2 * width + (width + 1) * classes
    highway = (columns + 1) * width + 4 * 2 * (width + 1) * width + (width + 1) * classes
    grown = [width + 64 * layer for layer in range(4)]
    densenet = (columns + 1) * width + sum(2 * n + 64 * n for n in grown) + 2 * 384 + 385 * classes
    parameters = [zoo.describe(f"tabular_{kind}").parameters for kind in ("resnet", "highway", "densenet")]
    assert parameters == [resnet, highway, densenet]


def test_the_block_is_that_of_the_paper():
    model = tabular_resnet((FEATURES,), **(SMALL | {"depth": 1}))
    rng = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(
            rng.uniform(0.5, 1.5, variable.shape) * rng.choice([-1, 1], variable.shape) ** ("k" in variable.name)
        )
    held = {variable.path: keras.ops.convert_to_numpy(variable) for variable in model.weights}

    def norm(x, name):
        mean, variance, gamma, beta = (
            held[f"{name}/{kind}"] for kind in ("moving_mean", "moving_variance", "gamma", "beta")
        )
        return gamma * (x - mean) / np.sqrt(variance + 1e-5) + beta

    def dense(x, name):
        return x @ held[f"{name}/kernel"] + held[f"{name}/bias"]

    rows = rng.normal(size=(4, FEATURES)).astype("float32")
    x = dense(rows, "stem")
    x = x + dense(np.maximum(dense(norm(x, "block1/pre_norm"), "block1/dense1"), 0), "block1/dense2")
    expected = dense(np.maximum(norm(x, "last_norm"), 0), "head")
    np.testing.assert_allclose(logits(model, rows), expected, rtol=1e-4, atol=1e-4)


@every_builder
def test_only_the_highway_starts_with_a_relu(builder):
    model, rows = builder((FEATURES,), **SMALL), np.random.default_rng(0).normal(size=(20, FEATURES))
    kernel, bias = model.get_layer("stem").get_weights()
    expected = rows @ kernel + bias
    received = keras.Model(model.input, model.get_layer("stem").output)(rows)
    expected = np.maximum(expected, 0) if builder is tabular_highway else expected
    np.testing.assert_allclose(received, expected, atol=1e-5)


@every_builder
def test_numbers_are_standardised_as_scikit_learn_does(builder):
    rows = make_rows()
    rows[::7, 2] = np.nan
    rows[:, 1] = 3.0
    model = builder((FEATURES,), scaling="standard", **SMALL)
    adapt(model, rows)
    expected = sklearn.preprocessing.StandardScaler().fit_transform(rows)
    np.testing.assert_allclose(scaled(model, rows), np.nan_to_num(expected, nan=0.0), atol=1e-5)


def test_numbers_become_normal_as_scikit_learn_makes_them():
    rows = make_rows(2000)
    model = tabular_resnet((FEATURES,), scaling="quantile", **SMALL)
    adapt(model, rows)
    received = scaled(model, rows)
    transformer = sklearn.preprocessing.QuantileTransformer(n_quantiles=2000, output_distribution="normal")
    expected = np.clip(transformer.fit_transform(rows), -2.5, 2.5)
    assert np.abs(received - expected).max() < 0.05
    order = np.argsort(rows[:, 0])
    assert (np.diff(received[order, 0]) >= 0).all()
    beyond = scaled(model, np.array([[-1e9] * FEATURES, [1e9] * FEATURES], "float32"))
    np.testing.assert_allclose(beyond, [[-2.5] * FEATURES, [2.5] * FEATURES], atol=1e-5)


def test_quantiles_of_columns_with_few_values():
    rows = np.zeros((100, 3), "float32")
    rows[:, 0] = np.arange(100) < 50
    rows[:, 1] = 4.0
    rows[:, 2] = np.nan
    model = tabular_resnet((3,), scaling="quantile", **SMALL)
    adapt(model, rows)
    low, high = scaled(model, np.array([[0, 4, -1], [1, np.nan, 1]], "float32"))
    # The mean ranks of the two values are a quarter and three quarters, whose normal quantiles are -+0.674.
    np.testing.assert_allclose([low[0], high[0]], [-0.6745, 0.6745], atol=0.01)
    np.testing.assert_allclose([low[1], high[1]], [0, 0], atol=1e-5)
    np.testing.assert_allclose([low[2], high[2]], [-1, 1], atol=1e-5)


@pytest.mark.parametrize("scaling", ["standard", "quantile"])
@every_builder
def test_missing_numbers_are_typical_ones(builder, scaling):
    rows = make_rows()
    model = builder((FEATURES,), scaling=scaling, **SMALL)
    before = scaled(model, np.full((1, FEATURES), 0.5, "float32"))
    np.testing.assert_allclose(before, 0.5, atol=1e-6)
    model.predict(rows, verbose=0)  # compiled before the statistics change
    adapt(model, rows)
    typical = rows.mean(axis=0) if scaling == "standard" else np.median(rows, axis=0)
    missing = model.predict(np.full((1, FEATURES), np.nan, "float32"), verbose=0)
    np.testing.assert_allclose(
        missing, model.predict(typical[None], verbose=0), atol=0.02 * np.abs(missing).max() + 1e-3
    )
    np.testing.assert_array_equal(scaled(model, np.full((1, FEATURES), np.nan, "float32")), np.zeros((1, FEATURES)))


@pytest.mark.parametrize("scaling", ["standard", "quantile", None])
@every_builder
def test_scaled_and_embedded_columns_survive_saving(builder, scaling, tmp_path):
    options = {"categories": (3, 12), "scaling": scaling, **SMALL}
    model = builder((FEATURES,), **options)
    rows = make_rows()
    rows[:, -2:] = np.random.default_rng(1).integers(-1, 13, (len(rows), 2))
    if scaling:
        adapt(model, rows)
    model.save(tmp_path / "model.keras")
    expected = logits(model, rows)
    assert expected.std(axis=0).min() > 0
    for loaded in (
        zoo.load(tmp_path / "model.keras"),
        zoo.load(model.name, weights=tmp_path / "model.keras", **options),
    ):
        np.testing.assert_allclose(logits(loaded, rows), expected, rtol=1e-5, atol=1e-6)


@every_builder
def test_unknown_categories_share_a_row_of_their_own(builder):
    model = builder((4,), categories=(3, 12), **SMALL)
    first, second = (model.get_layer(f"embedding{place}") for place in (1, 2))
    # round(1.6 * 3 ** 0.56) and round(1.6 * 12 ** 0.56)
    assert [tuple(layer.embeddings.shape) for layer in (first, second)] == [(4, 3), (13, 6)]
    for layer in (first, second):
        layer.embeddings.assign(np.random.default_rng(0).normal(size=layer.embeddings.shape))
    known = scaled(model, np.array([[1, 2, 1.9999, 11.0001]], "float32"))  # indices after some arithmetic
    expected = np.concatenate([[1, 2], first.embeddings.numpy()[2], second.embeddings.numpy()[11]])
    np.testing.assert_allclose(known, expected[None], rtol=1e-6)
    odd = [3, 7, -1, 1e9, np.nan, np.inf, -np.inf]
    unknown = scaled(model, np.array([[1, 2, value, value + 12] for value in odd], "float32"))
    expected = np.concatenate([[1, 2], first.embeddings.numpy()[3], second.embeddings.numpy()[12]])
    np.testing.assert_allclose(unknown[[0, 1, 3, 4, 5, 6]], np.tile(expected, (6, 1)), rtol=1e-6)
    np.testing.assert_array_equal(unknown[2, 2:5], first.embeddings.numpy()[3])
    assert np.array_equal(scaled(model, np.array([[1, 2, 0, 5]])), scaled(model, np.array([[1, 2, 0, 5]], "float64")))


def test_a_table_of_categories_alone():
    model = tabular_highway((2,), categories=(3, 4), embedding_size=5, scaling="standard", **SMALL)
    assert model.get_layer("stem").input.shape == (None, 10)
    with pytest.raises(ValueError, match=r'Expected a network built with scaling="standard".* Received: model='):
        adapt(model, np.zeros((3, 2)))
    assert zoo.multiply_adds(model) == 10 * 8 + 2 * 2 * 8 * 8 + 8 * 3


def fit(model, rows, targets, loss, epochs):
    """Trains on three quarters of the rows, and returns the loss, or the loss and the accuracy, on the others."""
    held_out = np.arange(len(rows)) % 4 == 0
    adapt(model, rows[~held_out])
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=[] if loss == "mse" else ["accuracy"], jit_compile=False)
    model.fit(rows[~held_out], targets[~held_out], batch_size=32, epochs=epochs, verbose=0)
    return model.evaluate(rows[held_out], targets[held_out], verbose=0)


@pytest.mark.parametrize(
    ("builder", "table", "scaling"),
    [
        (tabular_resnet, "wine", "standard"),
        (tabular_highway, "breast_cancer", "quantile"),
        (tabular_densenet, "wine", "quantile"),
    ],
)
def test_networks_learn_real_tables(builder, table, scaling):
    keras.utils.set_random_seed(0)
    rows, labels = getattr(sklearn.datasets, f"load_{table}")(return_X_y=True)
    model = builder((rows.shape[1],), classes=3, depth=2, width=32, scaling=scaling)
    _, accuracy = fit(model, rows, labels, keras.losses.SparseCategoricalCrossentropy(from_logits=True), epochs=8)
    assert accuracy > 0.93


def test_a_regression_is_about_as_good_as_a_linear_one():
    keras.utils.set_random_seed(0)
    rows, target = sklearn.datasets.load_diabetes(return_X_y=True, scaled=False)
    rows = np.concatenate([rows[:, :1], rows[:, 2:], rows[:, 1:2] - 1], axis=1)  # the last is a category, 0 or 1
    target = (target - target.mean()) / target.std()
    model = tabular_resnet((10,), classes=1, depth=1, width=16, dropout=0.3, categories=(2,), scaling="standard")
    error = fit(model, rows, target, "mse", epochs=10)
    # That of scikit-learn's LinearRegression on the same rows is 0.625, the variance 1.163.
    assert error < 0.69


@every_builder
def test_weights_do_not_depend_on_the_order_of_the_axes(builder):
    options = {"categories": (3,), "scaling": "quantile", **SMALL}
    last = builder((FEATURES,), **options)
    keras.config.set_image_data_format("channels_first")
    try:
        first = builder((FEATURES,), **options)
        first.set_weights(last.get_weights())
        received = logits(first, make_rows())
    finally:
        keras.config.set_image_data_format("channels_last")
    assert [(v.path, v.shape) for v in first.weights] == [(v.path, v.shape) for v in last.weights]
    np.testing.assert_allclose(received, logits(last, make_rows()), rtol=1e-5, atol=1e-6)


@every_builder
def test_logits_are_float32_and_categories_exact_in_mixed_precision(builder):
    with precision("mixed_bfloat16"):
        model = builder((2,), categories=(1000,), scaling="standard", **SMALL)
    assert model.output.dtype == "float32"
    assert model.get_layer("stem").compute_dtype == "bfloat16"
    model.get_layer("embedding1").embeddings.assign(np.random.default_rng(0).normal(size=(1001, 77)))
    received = logits(model, np.array([[0, 998], [0, 999]], "float32"))  # bfloat16 has no 999
    assert np.abs(received[0] - received[1]).max() > 1e-2


def test_survival_and_recompute_reach_the_blocks():
    blocks = [
        layer
        for layer in tabular_resnet((3,), depth=4, width=4, survival_prob=0.6, recompute=True).layers
        if "block" in layer.name
    ]
    assert [block.survival_prob for block in blocks] == pytest.approx([0.9, 0.8, 0.7, 0.6])
    assert {(block.granularity, block.recompute) for block in blocks} == {("sample", True)}
    assert tabular_highway((3,), recompute=True).get_layer("block1").recompute
    assert tabular_densenet((3,), recompute=True).get_layer("block").recompute


def test_dropout_reaches_the_blocks():
    block = tabular_resnet((3,), depth=1, width=4, dropout=0.1, residual_dropout=0.2).get_layer("block1")
    assert [getattr(layer, "rate", None) for layer in block.layers] == [None, 0.1, None, 0.2]
    assert tabular_highway((3,), depth=1, dropout=0.1).get_layer("block1").dropout == 0.1
    assert tabular_densenet((3,), depth=1, dropout=0.1).get_layer("block").dropout == 0.1


def test_the_width_inside_the_blocks():
    narrow, wide = (tabular_resnet((3,), depth=1, width=10, expansion=factor) for factor in (0.5, 2.5))
    assert [tuple(model.get_layer("block1").layers[0].kernel.shape) for model in (narrow, wide)] == [(10, 5), (10, 25)]
    assert count(wide.trainable_variables) - count(narrow.trainable_variables) == 20 * (10 + 1 + 10)
