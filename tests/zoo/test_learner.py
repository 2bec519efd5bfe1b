"""What is done to the weights in a step: the papers' SGD, moving averages, clipping."""

import keras
import numpy as np
import pytest

import zoo
from zoo.training.learner import make_learner

IMAGES = np.random.default_rng(0).normal(size=(8, 8, 8, 1)).astype("float32")
LABELS = np.eye(10, dtype="float32")[np.arange(8)]


def learner_of(**overrides):
    settings = {"schedule.kind": "constant", "schedule.warmup": 0.0} | overrides
    recipe = zoo.get_recipe("resnet20_digits").changed(settings)
    model = zoo.build("resnet20", (8, 8, 1), depth=8, weight_decay=recipe.optimizer.weight_decay)
    return make_learner(model, recipe, steps=10)[0]


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
