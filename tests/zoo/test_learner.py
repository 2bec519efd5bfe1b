"""What is done to the weights in a step: the papers' SGD, moving averages, clipping."""

import keras
import numpy as np
import pytest

import zoo
from zoo.training.learner import make_learner
from zoo.training.learner import precision as in_precision

IMAGES = np.random.default_rng(0).normal(size=(8, 8, 8, 1)).astype("float32")
LABELS = np.eye(10, dtype="float32")[np.arange(8)]


def learner_of(**overrides):
    settings = {"schedule.kind": "constant", "schedule.warmup": 0.0} | overrides
    recipe = zoo.get_recipe("resnet20_digits").changed(settings)
    model = zoo.build("resnet20", (8, 8, 1), depth=8, weight_decay=recipe.optimizer.weight_decay)
    return make_learner(model, recipe, 10, zoo.load_source("digits"))[0]


def values(variables):
    return [keras.ops.convert_to_numpy(v.value) for v in variables]


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("everywhere", [False, True])
def test_decay_of_d_changes_a_weight_as_the_papers_sgd_does(nesterov, everywhere):
    """From images of zeros no gradient reaches the first kernel and the first scale: what is left is the decay."""
    d, lr, momentum = 0.1, 0.05, 0.9
    learner = learner_of(
        **{
            "optimizer.weight_decay": d,
            "optimizer.lr": lr,
            "optimizer.momentum": momentum,
            "optimizer.nesterov": nesterov,
            "optimizer.decay_norm_and_bias": everywhere,
        }
    )
    kernel, scale = (next(v for v in learner.trainable_variables if v.name == name) for name in ("kernel", "gamma"))
    w, velocity = values([kernel, scale]), [0.0, 0.0]
    for _ in range(4):
        learner.train_on_batch(np.zeros_like(IMAGES), LABELS)
        for place, decay in enumerate([d, d if everywhere else 0.0]):
            gradient = decay * w[place]
            velocity[place] = momentum * velocity[place] - lr * gradient
            w[place] = w[place] + (momentum * velocity[place] - lr * gradient if nesterov else velocity[place])
    for found, expected in zip(values([kernel, scale]), w, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_averages_of_weights_and_statistics_follow_their_formula():
    learner = learner_of(**{"optimizer.ema": 0.5})
    expected = values(learner.averaged)
    assert len(expected) == len(learner.trainable_variables) + sum("moving" in v.name for v in learner.variables)
    for n in range(1, 5):
        learner.train_on_batch(IMAGES, LABELS)
        decay = min(0.5, (1 + n) / (10 + n))
        expected = [decay * a + (1 - decay) * v for a, v in zip(expected, values(learner.averaged), strict=True)]
    for found, average in zip(values(learner.averages), expected, strict=True):
        np.testing.assert_allclose(found, average, rtol=1e-5, atol=1e-6)
    before = values(learner.averaged)
    learner.swap()
    np.testing.assert_array_equal(values(learner.averages)[0], before[0])
    np.testing.assert_allclose(values(learner.averaged)[0], expected[0], rtol=1e-5, atol=1e-6)


def test_clipping_bounds_the_norm_of_the_whole_step():
    learner = learner_of(**{"optimizer.clip_norm": 1e-3, "optimizer.lr": 1.0, "optimizer.momentum": 0.0})
    before = values(learner.trainable_variables)
    learner.train_on_batch(IMAGES, LABELS)
    step = [a - b for a, b in zip(values(learner.trainable_variables), before, strict=True)]
    assert np.sqrt(sum((s**2).sum() for s in step)) == pytest.approx(1e-3, rel=1e-2)


def first_steps(**settings):
    """How far each trained variable moves in the first step, by path."""
    keras.utils.set_random_seed(0)
    learner = learner_of(**settings)
    variables = learner.trainable_variables
    before = values(variables)
    learner.train_on_batch(IMAGES, LABELS)
    return {v.path: after - b for v, b, after in zip(variables, before, values(variables), strict=True)}


@pytest.mark.parametrize("clip_norm", [0.0, 1e-2])
def test_rates_multiply_the_steps_after_clipping(clip_norm):
    settings = {"optimizer.clip_norm": clip_norm, "optimizer.lr": 0.5}
    plain = first_steps(**settings)
    scaled = first_steps(**settings, **{"optimizer.rates": {"*/beta": 64.0, "stem_norm/*": 9.0, "head/*": 0.5}})
    assert scaled.keys() == plain.keys()
    factors = dict.fromkeys(plain, 1.0) | {path: 64.0 for path in plain if path.endswith("beta")}
    factors |= {"stem_norm/gamma": 9.0, "head/kernel": 0.5, "head/bias": 0.5}
    for path, step in scaled.items():
        np.testing.assert_allclose(step, factors[path] * plain[path], rtol=1e-3, atol=2e-6, err_msg=path)


def test_momentum_and_decay_go_with_the_rate_of_a_variable():
    d, lr, momentum, factor = 0.1, 0.05, 0.9, 3.0
    rates = {"stem_conv/*": factor}
    learner = learner_of(**{"optimizer.weight_decay": d, "optimizer.lr": lr, "optimizer.rates": rates})
    kernel = learner.trainable_variables[0]
    assert kernel.path == "stem_conv/kernel"
    w, velocity = values([kernel])[0], 0.0
    for _ in range(4):
        learner.train_on_batch(np.zeros_like(IMAGES), LABELS)
        velocity = momentum * velocity - factor * lr * d * w
        w = w + momentum * velocity - factor * lr * d * w
    np.testing.assert_allclose(values([kernel])[0], w, rtol=1e-5)


def test_rate_of_0_freezes_to_the_bit():
    settings = {
        "optimizer.rates": {"*/gamma": 0.0},
        "optimizer.weight_decay": 0.1,
        "optimizer.decay_norm_and_bias": True,
    }
    for decoupled in (False, True):
        learner = learner_of(**settings, **{"optimizer.decoupled": decoupled})
        scales = [v for v in learner.variables if v.name == "gamma"]
        assert len(scales) == 7
        learner.train_on_batch(IMAGES, LABELS)
        assert all((value == 1).all() for value in values(scales))
        assert not {id(v) for v in scales} & {id(v) for v in learner.trainable_variables}


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ({"*/betas": 2.0}, r"Received: '\*/betas'. Paths like it: .*/beta"),
        ({"*": 1.0, "head/*": 2.0}, r"after the patterns before it. Received: 'head/\*'.*head/"),
    ],
)
def test_pattern_without_a_variable_of_its_own_is_refused(rates, message):
    with pytest.raises(ValueError, match=r"Expected each pattern of optimizer.rates to match.*" + message):
        learner_of(**{"optimizer.rates": rates})


def test_optimizer_with_rates_is_serialisable():
    optimizer = learner_of(**{"optimizer.rates": {"*/beta": 64.0}}).optimizer
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(again) is type(optimizer)
    assert again.get_config() == optimizer.get_config()


@pytest.mark.parametrize("everywhere", [False, True])
def test_decoupled_decay_is_a_step_of_its_own(everywhere):
    """Neither the clipping, nor the momentum, nor the factors change it: what is left is geometric."""
    d, lr = 0.1, 0.05
    settings = {
        "optimizer.weight_decay": d,
        "optimizer.decoupled": True,
        "optimizer.decay_norm_and_bias": everywhere,
        "optimizer.lr": lr,
        "optimizer.clip_norm": 1e-3,
        "optimizer.rates": {"stem_conv/*": 10.0},
    }
    learner = learner_of(**settings)
    kernel, scale = (next(v for v in learner.trainable_variables if v.name == name) for name in ("kernel", "gamma"))
    before = values([kernel, scale])
    for _ in range(4):
        learner.train_on_batch(np.zeros_like(IMAGES), LABELS)
    kept = (1 - lr * d) ** 4
    np.testing.assert_allclose(values([kernel])[0], kept * before[0], rtol=1e-5)
    np.testing.assert_allclose(values([scale])[0], (kept if everywhere else 1) * before[1], rtol=1e-5)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-4), ("mixed_bfloat16", 2e-3)])
def test_lookahead_follows_its_formula(precision, tolerance):
    """Against a network without it, which is put on the slow weights by hand after every second of ten steps."""
    with in_precision(precision):
        keras.utils.set_random_seed(0)
        learner = learner_of(**{"optimizer.lookahead": 2, "optimizer.lr": 0.01})
        keras.utils.set_random_seed(0)
        plain = learner_of(**{"optimizer.lr": 0.01})
    fast = [v for v in plain.variables if keras.backend.is_float_dtype(v.dtype)]
    slow = values(fast)
    for n in range(1, 6):
        learner.train_on_batch(IMAGES, LABELS)
        plain.train_on_batch(IMAGES, LABELS)
        if n % 2 == 0:
            d = 0.95**2 * (n / 10) ** 3
            slow = [d * s + (1 - d) * w for s, w in zip(slow, values(fast), strict=True)]
            for variable, value in zip(fast, slow, strict=True):
                variable.assign(value)
        expected = {v.path: (value, s) for v, value, s in zip(fast, values(fast), slow, strict=True)}
        for variable, average in zip(learner.averaged, learner.averages, strict=True):
            np.testing.assert_allclose(
                values([variable])[0], expected[variable.path][0], rtol=tolerance, atol=tolerance
            )
            np.testing.assert_allclose(values([average])[0], expected[variable.path][1], rtol=1e-3, atol=1e-4)
