import json

import numpy as np
import pytest

from export import Preprocessing


def test_it_scales_then_subtracts_the_mean_then_divides_by_the_deviation():
    x = np.array([[[10, 20]]], "uint8")
    y = Preprocessing("uint8", scale=0.1, mean=(0.5, 1.0), std=(2.0, 4.0)).apply(x)
    assert y.dtype == "float32"
    np.testing.assert_allclose(y, [[[0.25, 0.25]]], rtol=1e-6)


def test_channels_may_come_first():
    x = np.ones((2, 3, 4, 4), "float32")
    y = Preprocessing("float32", mean=(1, 2, 3), channel_axis=1).apply(x)
    np.testing.assert_array_equal(y[0, :, 0, 0], [0, -1, -2])


@pytest.mark.parametrize("axis", [-1, 1])
def test_channels_are_reversed_before_all_else(axis):
    x = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 3), "uint8")
    raw = Preprocessing("uint8", mean=(1.0, 2.0, 3.0), std=(1.0, 2.0, 4.0), channel_axis=axis, reverse_channels=True)
    red, green, blue = np.moveaxis(x.astype("float32"), axis, 0)
    expected = np.stack([blue - 1, (green - 2) / 2, (red - 3) / 4], axis)
    np.testing.assert_allclose(raw.apply(x), expected, rtol=1e-6)
    np.testing.assert_allclose(raw.invert(raw.apply(x)), x, rtol=1e-5)
    assert not Preprocessing(reverse_channels=True).is_identity
    assert Preprocessing.from_dict(json.loads(json.dumps(raw.to_dict()))) == raw
    assert "reverse_channels" not in Preprocessing().to_dict(), "which older readers do not know"


def test_bgr_is_what_keras_makes_of_it():
    from keras.applications.resnet import preprocess_input

    x = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), "uint8")
    raw = Preprocessing("uint8", mean=(103.939, 116.779, 123.68), reverse_channels=True)
    np.testing.assert_allclose(raw.apply(x), preprocess_input(x.astype("float32")), rtol=1e-6, atol=1e-5)


def test_inverting_gives_back_what_was_applied():
    raw = Preprocessing("float32", scale=0.25, mean=(1, 2), std=(3, 4))
    x = np.random.default_rng(0).normal(size=(5, 2)).astype("float32")
    np.testing.assert_allclose(raw.invert(raw.apply(x)), x, rtol=1e-5, atol=1e-6)


def test_it_survives_json():
    raw = Preprocessing("uint8", scale=1 / 255, mean=[0.5, 0.4], std=0.2, channel_axis=1)
    assert Preprocessing.from_dict(json.loads(json.dumps(raw.to_dict()))) == raw


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dtype": "str"}, "Expected dtype"),
        ({"dtype": "no such type"}, "Expected dtype"),
        ({"scale": 0}, "Expected scale .* Received: scale=0.0"),
        ({"scale": (1, 2)}, "Expected scale to be one number"),
        ({"std": (1, 0)}, "Expected std"),
        ({"mean": float("nan")}, "Expected mean to be a finite number"),
        ({"reverse_channels": 1}, "Expected reverse_channels to be True or False. Received: reverse_channels=1"),
        ({"mean": "0.5"}, "Expected mean to be a finite number"),
    ],
)
def test_values_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Preprocessing(**arguments)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="Received: .*'sdt'"):
        Preprocessing.from_dict({"dtype": "uint8", "sdt": 1})
