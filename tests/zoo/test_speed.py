"""How long a network takes beside its export."""

import time

import keras
import numpy as np
import pytest

from zoo.analysis import speed
from zoo.data import Preprocessing


@pytest.fixture
def network():
    inputs = keras.Input((4, 4, 1))
    return keras.Model(inputs, keras.layers.Flatten()(inputs))


def test_each_gets_the_same_pixels_and_the_slower_one_is_known(network, monkeypatch):
    monkeypatch.setattr(speed, "SECONDS", 0.0)
    images = np.arange(3 * 16, dtype="uint8").reshape(3, 4, 4, 1)
    seen = []

    def slow(batch):
        seen.append(batch)
        time.sleep(0.2)

    one, five = speed.measure(network, Preprocessing(1.0, (0.0,), (1.0,)), slow, images, batches=(1, 5))
    assert (one.batch, five.batch) == (1, 5)
    assert one.rounds == five.rounds == speed.LEAST_ROUNDS
    assert one.exported >= 200 > one.keras > 0
    assert len(seen) == 2 * (speed.LEAST_ROUNDS + 1)
    np.testing.assert_array_equal(seen[0], images[:1])
    np.testing.assert_array_equal(seen[-1], images[[0, 1, 2, 0, 1]])


def test_keras_gets_the_channels_where_it_wants_them(monkeypatch):
    monkeypatch.setattr(speed, "SECONDS", 0.0)
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    try:
        inputs = keras.Input((3, 4, 5))
        model = keras.Model(inputs, keras.layers.Flatten()(inputs))
        images = np.zeros((2, 4, 5, 3), "uint8")
        (one,) = speed.measure(model, Preprocessing(1.0, (0.0,) * 3, (1.0,) * 3), len, images, batches=(1,))
    finally:
        keras.config.set_image_data_format(before)
    assert one.keras > 0


def test_what_was_measured_is_kept_with_the_run_until_it_is_forgotten(tmp_path):
    assert speed.read(tmp_path) is None
    rows = [speed.Speed(1, 5.0, 0.5, 9)]
    speed.write(tmp_path, rows)
    kept = speed.read(tmp_path)
    assert kept["rows"] == rows and kept["processor"] and kept["backend"] == keras.backend.backend()
    speed.forget(tmp_path)
    speed.forget(tmp_path)
    assert speed.read(tmp_path) is None
