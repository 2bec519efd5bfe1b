"""Every network of the zoo trains a step, predicts and survives saving.

`make test` takes a shallow one of nearly each form, `make test-all` every one as it is.
"""

import keras
import numpy as np
import pytest

import zoo
from tests.sweep import first_of_each_kind
from tests.zoo.small_inputs import SHALLOW, few_blocks, make_inputs, make_labels, small_shape
from zoo.networks.catalogue import MODELS

# Blocks that were dropped have none.
pytestmark = pytest.mark.filterwarnings("ignore:Gradients do not exist for variables")
SMALLEST = first_of_each_kind(
    MODELS,
    lambda name: (MODELS[name].family.builder, *sorted(MODELS[name].arguments)),
    lambda name: MODELS[name].multiply_adds,
)
# A step of r3d_18 has to be traced, and r2plus1d_18 has all of its parts.
IN_SHORT = [name for name in MODELS if name in SMALLEST and name != "r3d_18"]


def predict(model, inputs):
    """Without `Model.predict`, which would trace each of the models."""
    return keras.ops.convert_to_numpy(model(inputs, training=False))


@pytest.mark.parametrize("name", IN_SHORT)
def test_a_shallow_network_of_each_form_learns_a_step_predicts_and_survives_saving(name, tmp_path):
    with few_blocks():
        learn_a_step_predict_and_survive_saving(name, tmp_path, **SHALLOW.get(name, {}))


@pytest.mark.complete
@pytest.mark.parametrize("name", MODELS)
def test_every_network_learns_a_step_predicts_and_survives_saving(name, tmp_path):
    learn_a_step_predict_and_survive_saving(name, tmp_path)


def learn_a_step_predict_and_survive_saving(name, folder, **arguments):
    model = zoo.build(name, classes=10, **{"input_shape": small_shape(name), **arguments})
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
    predictions = predict(model, inputs)
    assert np.isfinite(predictions).all()
    model.save(folder / "model.keras")
    tolerance = 1e-5 * np.abs(predictions).max()
    for loaded in (zoo.load(folder / "model.keras"), zoo.load(name, weights=folder / "model.keras", **arguments)):
        np.testing.assert_allclose(predict(loaded, inputs), predictions, rtol=1e-5, atol=tolerance)
