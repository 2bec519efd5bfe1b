"""Every network of the zoo trains a step and predicts. `make test-all` runs it; `make test` does so by family."""

import keras
import numpy as np
import pytest

import zoo
from zoo.networks.catalogue import MODELS


def small_shape(name):
    """The smallest images that show something, of odd sides where the network takes them."""
    if MODELS[name].family.classes == 1000:
        return (45, 70, 3)
    return (9, 14, MODELS[name].family.input_shape[2])


@pytest.mark.complete
@pytest.mark.filterwarnings("ignore:Gradients do not exist for variables")  # of the blocks that were dropped
@pytest.mark.parametrize("name", MODELS)
def test_network_learns_a_step_and_predicts(name):
    shape = small_shape(name)
    model = zoo.build(name, input_shape=shape, classes=10)
    images = np.random.default_rng(0).normal(size=(2, *shape)).astype("float32")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # Without skips, the gradients of 56 layers explode. Eager steps are the faster ones where only one is run.
    model.compile(keras.optimizers.SGD(0.01, clipnorm=1.0), loss, jit_compile=False, run_eagerly=True)
    before = model.get_layer("head").kernel.numpy()
    assert np.isfinite(model.train_on_batch(images, np.array([0, 1])))
    assert not np.array_equal(model.get_layer("head").kernel.numpy(), before)
    assert np.isfinite(model.predict_on_batch(images)).all()
