"""AdamW and LAMB against their equations in NumPy, and the binary cross-entropy against its own."""

from itertools import product

import keras
import numpy as np
import pytest

import zoo
from tests.sweep import sweep
from zoo.tasks import task_of
from zoo.training.optimizer import Lamb, make_optimizer
from zoo.training.recipe import Optimizer
from zoo.training.schedules import Rate

RNG = np.random.default_rng(0)
SHAPES = {
    "conv/kernel": (3, 3, 2, 4),
    "zero/kernel": (4, 5),
    "still/kernel": (2, 3),
    "norm/gamma": (4,),
    "head/bias": (5,),
}
VALUES = {path: np.zeros(shape) if path == "zero/kernel" else RNG.normal(size=shape) for path, shape in SHAPES.items()}
STEPS = 5
# No gradient reaches "still": with a decay of 0 its update is 0, too.
GRADIENTS = [
    {path: np.zeros(shape) if path == "still/kernel" else RNG.normal(size=shape) for path, shape in SHAPES.items()}
    for _ in range(STEPS)
]


def found(decayed, **settings):
    """The variables after some steps of our optimizer."""
    variables = []
    for path, value in VALUES.items():
        layer, name = path.split("/")
        with keras.name_scope(layer):
            variable = keras.Variable(value.astype("float32"), name=name)
        if path in decayed:
            variable.regularizer = keras.regularizers.L2(0.1)
        variables.append(variable)
    settings = Optimizer(lr=0.1, **settings)
    optimizer = make_optimizer(settings, Rate(settings.lr, STEPS, "cosine"), variables)
    for gradients in GRADIENTS:
        optimizer.apply([gradients[v.path].astype("float32") for v in variables], variables)
    return {variable.path: keras.ops.convert_to_numpy(variable) for variable in variables}


def expected(kind, decayed, decay=0.0, rates=(), clip=0.0, beta_1=0.9, beta_2=0.999, epsilon=1e-6):
    """The equations of Algorithm 2 of arXiv 1904.00962, and of arXiv 1711.05101."""
    values = {path: value.copy() for path, value in VALUES.items()}
    mean, square = ({path: np.zeros(shape) for path, shape in SHAPES.items()} for _ in range(2))
    for n, gradients in enumerate(GRADIENTS, 1):
        lr = 0.1 * (1 + np.cos(np.pi * (n - 0.5) / STEPS)) / 2
        norm = np.sqrt(sum((g**2).sum() for g in gradients.values()))
        for path, w in values.items():
            g = gradients[path] * (min(1, clip / norm) if clip else 1)
            rate = lr * dict(rates).get(path, 1.0)
            mean[path] = beta_1 * mean[path] + (1 - beta_1) * g
            square[path] = beta_2 * square[path] + (1 - beta_2) * g**2
            m, v = mean[path] / (1 - beta_1**n), square[path] / (1 - beta_2**n)
            d = decay if path in decayed else 0.0
            if kind == "adamw":
                hat = epsilon / np.sqrt(1 - beta_2**n)
                values[path] = (1 - lr * d) * w - rate * m / (np.sqrt(v) + hat)
                continue
            u = m / (np.sqrt(v) + epsilon) + d * w
            norms = np.linalg.norm(w), np.linalg.norm(u)
            ratio = norms[0] / norms[1] if min(norms) > 0 and w.ndim > 1 else 1.0
            values[path] = w - rate * ratio * u
    return values


CASES = {
    "plain": ({}, {}),
    "decay": ({"weight_decay": 0.3}, {"decay": 0.3}),
    "clipped": ({"clip_norm": 2.0}, {"clip": 2.0}),
    "rates": ({"weight_decay": 0.3, "rates": {"head/*": 3.0}}, {"decay": 0.3, "rates": {"head/bias": 3.0}.items()}),
    "betas": ({"beta_1": 0.7, "beta_2": 0.9, "epsilon": 1e-2}, {"beta_1": 0.7, "beta_2": 0.9, "epsilon": 1e-2}),
}


@pytest.mark.parametrize(("settings", "reference"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("kind", ["adamw", "lamb"])
def test_steps_are_those_of_the_equations(kind, settings, reference):
    kernels = [path for path in SHAPES if path.endswith("kernel")]
    after, wanted = found(kernels, kind=kind, **settings), expected(kind, kernels, **reference)
    for path in SHAPES:
        np.testing.assert_allclose(after[path], wanted[path], rtol=2e-4, atol=2e-6, err_msg=path)
    assert np.abs(after["zero/kernel"]).min() > 0


@pytest.mark.parametrize("kind", ["adamw", "lamb"])
def test_decay_of_everything_reaches_biases_and_normalisations(kind):
    """But the ratio of LAMB does not."""
    after = found(["conv/kernel"], kind=kind, weight_decay=0.3, decay_norm_and_bias=True)
    for path, value in expected(kind, list(SHAPES), decay=0.3).items():
        np.testing.assert_allclose(after[path], value, rtol=2e-4, atol=2e-6, err_msg=path)


def test_variable_with_the_rate_0_and_a_frozen_layer_stay():
    after = found(["conv/kernel"], kind="lamb", weight_decay=0.3, rates={"norm/*": 0.0})
    np.testing.assert_array_equal(after["norm/gamma"], VALUES["norm/gamma"].astype("float32"))


def test_lamb_is_serialisable():
    optimizer = Lamb(0.1, rates={"*/beta": 2.0}, weight_decay=0.1, beta_1=0.8)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(again) is Lamb and again.get_config() == optimizer.get_config()


@pytest.mark.parametrize(
    ("name", "value"),
    [("kind", "adam"), ("beta_1", 1.0), ("beta_2", -0.1), ("epsilon", 0.0)],
)
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=f"Expected {name} to be .* Received: {name}="):
        Optimizer(**{"kind": "lamb", name: value})


def test_decay_of_adamw_is_decoupled_already():
    with pytest.raises(ValueError, match=r"Expected decoupled to be False with kind='adamw'. Received: decoupled=True"):
        Optimizer(kind="adamw", decoupled=True)


AVERAGES = {"ema": {"optimizer.ema": 0.9}, "lookahead": {"optimizer.lookahead": 5}}


IN_SHORT = [("adamw", "ema"), ("lamb", "lookahead")]


@pytest.mark.parametrize("pair", sweep(product(["adamw", "lamb"], AVERAGES), IN_SHORT), ids=" ".join)
def test_networks_learn_with_averages_and_freezing(pair, small_source, tmp_path, no_report):
    kind, others = pair[0], AVERAGES[pair[1]]
    settings = {"optimizer.kind": kind, "optimizer.lr": 0.01, "freeze": "backbone", "unfreeze_after": 1, "epochs": 6}
    settings["arguments.depth"] = 4
    run = zoo.train("residual_mlp_digits", small_source, tmp_path / "run", **settings, **others)
    assert run.results["test_accuracy"] > 0.6


LOGITS = RNG.normal(0, 3, (4, 5)).astype("float32")
LABELS = np.float32([[1, 0, 0, 0, 0], [0.7, 0.3, 0, 0, 0], [0, 0, 0.1, 0.9, 0], [0, 0, 0, 0, 1]])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("threshold", [None, 0.0, 0.2])
def test_binary_loss_is_its_equation(threshold, smoothing):
    loss = task_of("classification").loss(None, smoothing, "binary", threshold)
    targets = LABELS if threshold is None else (threshold < LABELS).astype("float64")
    targets = (1 - smoothing) * targets + smoothing / 5
    p = 1 / (1 + np.exp(-LOGITS.astype("float64")))
    wanted = -(targets * np.log(p) + (1 - targets) * np.log(1 - p)).mean()
    assert float(loss(LABELS, LOGITS)) == pytest.approx(wanted, rel=1e-5)


def test_figures_of_a_run_with_the_binary_loss_are_those_of_the_softmax_it_exports(small_source, tmp_path, no_report):
    settings = {"loss": "binary", "loss_threshold": 0.0, "arguments.depth": 3}
    run = zoo.train("plain_mlp_digits", small_source, tmp_path / "run", epochs=4, **settings)
    model = zoo.load(run.path)
    odds = np.exp(model.predict(small_source.preprocessing(small_source.test_inputs), verbose=0).astype("float64"))
    given = odds / odds.sum(axis=1, keepdims=True)
    own = given[np.arange(50), small_source.test_targets]
    assert run.results["test_loss"] == pytest.approx(-np.log(own).mean(), rel=1e-4)
    assert zoo.evaluate(run.path, small_source)["loss"] == pytest.approx(run.results["test_loss"], rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"loss": "hinge"}, "Expected loss to be one of cross-entropy, binary. Received: loss='hinge'"),
        ({"loss_threshold": 0.0}, "Expected loss_threshold to be None with loss='cross-entropy'"),
        ({"loss": "binary", "loss_threshold": 1.0}, r"Expected loss_threshold to be a number in \[0, 1\), or None"),
    ],
)
def test_wrong_loss_is_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        zoo.get_recipe("resnet20_digits").changed(settings)


def test_other_tasks_keep_their_loss(tmp_path):
    with pytest.raises(ValueError, match="Expected loss='cross-entropy' for regression. Received: loss='binary'"):
        zoo.train("tabular_resnet_diabetes", out=tmp_path / "run", loss="binary")
