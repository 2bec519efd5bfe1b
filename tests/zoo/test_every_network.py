"""Every network of the zoo trains a step, predicts and survives saving.

`make test` takes the smallest of each form, `make test-all` every one.
"""

import keras
import numpy as np
import pytest

import zoo
from tests.sweep import first_of_each_kind, sweep
from tests.zoo.small_inputs import make_inputs, make_labels, small_shape
from zoo.networks.catalogue import MODELS

SMALLEST = first_of_each_kind(
    MODELS,
    lambda name: (MODELS[name].family.builder, *sorted(MODELS[name].arguments)),
    lambda name: MODELS[name].multiply_adds,
)


# This one has to be traced, all 121 layers of it; densenet121 has the same blocks.
IN_SHORT = SMALLEST - {"densenet3d_121"}


@pytest.mark.filterwarnings("ignore:Gradients do not exist for variables")  # of the blocks that were dropped
@pytest.mark.parametrize("name", sweep(MODELS, IN_SHORT.__contains__))
def test_network_learns_a_step_predicts_and_survives_saving(name, tmp_path):
    model = zoo.build(name, input_shape=small_shape(name), classes=10)
    inputs, labels = make_inputs(model), make_labels(model)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # Eager steps are the faster ones where only one is run, but with oneDNN eager convolutions of volumes have no
    # gradient.
    eager = len(model.input_shape) < 5
    # Without skips, the gradients of 56 layers explode.
    model.compile(keras.optimizers.SGD(0.01, clipnorm=1.0), loss, jit_compile=False, run_eagerly=eager)
    head = model.get_layer("head").trainable_variables[0]
    before = head.numpy()
    assert np.isfinite(model.train_on_batch(inputs, labels))
    assert not np.array_equal(head.numpy(), before)
    predictions = model.predict_on_batch(inputs)
    assert np.isfinite(predictions).all()
    model.save(tmp_path / "model.keras")
    tolerance = 1e-5 * np.abs(predictions).max()
    for loaded in (zoo.load(tmp_path / "model.keras"), zoo.load(name, weights=tmp_path / "model.keras")):
        np.testing.assert_allclose(loaded.predict_on_batch(inputs), predictions, rtol=1e-5, atol=tolerance)
