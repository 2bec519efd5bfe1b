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
        ({"mean": "0.5"}, "Expected mean to be a finite number"),
    ],
)
def test_values_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Preprocessing(**arguments)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="Received: .*'sdt'"):
        Preprocessing.from_dict({"dtype": "uint8", "sdt": 1})
