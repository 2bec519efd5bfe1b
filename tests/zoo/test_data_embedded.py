"""The data sources that need no download are scikit-learn's data, split without overlap, and the same each time."""

import itertools

import numpy as np
import pytest
from PIL import Image
from sklearn import datasets

import zoo


def both(source, what):
    return np.concatenate([getattr(source, f"train_{what}"), getattr(source, f"test_{what}")])


@pytest.mark.parametrize(("name", "options"), [("wine", {}), ("breast_cancer", {}), ("diabetes", {"scaled": False})])
def test_tables_are_those_of_scikit_learn(name, options):
    source, bunch = zoo.load_source(name), getattr(datasets, f"load_{name}")(**options)
    inputs, targets = both(source, "inputs"), both(source, "targets")
    expected = {column: values for column, values in zip(bunch.feature_names, bunch.data.T, strict=True)}
    if name == "diabetes":
        # A category comes last, as an index from 0.
        expected["sex"] = expected.pop("sex") - 1
    else:
        assert source.class_names == tuple(sorted(bunch.target_names))
        targets = np.array([list(bunch.target_names).index(source.class_names[label]) for label in targets])
    assert source.table.names == tuple(expected)
    rows = np.column_stack([*expected.values(), bunch.target]).astype("float32")
    assert sorted(map(tuple, np.column_stack([inputs, targets]))) == sorted(map(tuple, rows))
    assert len(source.test_targets) == pytest.approx(0.2 * len(rows), abs=1)
    assert zoo.load_source(source.as_dict()).fingerprint == source.fingerprint


def test_signals_are_the_pixels_in_reading_order():
    signals, digits = zoo.load_source("digits_signals"), zoo.load_source("digits")
    np.testing.assert_array_equal(signals.test_targets, digits.test_targets)
    np.testing.assert_array_equal(signals.train_inputs[5, 10:14, 0] * 16, digits.train_inputs[5, 1, 2:6, 0])
    assert signals.input_shape == (64, 1) and signals.train_inputs.max() == 1
    seen = signals.preprocessing(signals.train_inputs)
    assert (seen.mean(), seen.std()) == (pytest.approx(0, abs=1e-5), pytest.approx(1, abs=1e-5))


@pytest.mark.parametrize("part", ["train", "test"])
def test_masks_are_the_ink_of_digits_of_the_same_part(part):
    source, digits = zoo.load_source("digits_masks"), zoo.load_source("digits")
    images, labels = getattr(digits, f"{part}_inputs")[..., 0], getattr(digits, f"{part}_targets")
    found = 0
    for canvas, mask in zip(
        getattr(source, f"{part}_inputs")[:8, ..., 0], getattr(source, f"{part}_targets"), strict=False
    ):
        assert canvas[mask == 0].max() <= 6
        for top, left in itertools.product((0, 16), (0, 16)):
            ink, pixels = (array[top : top + 16, left : left + 16] for array in (mask, canvas))
            if not ink.any():
                continue
            (label,) = np.unique(ink[ink > 0]) - 1
            candidates = images[labels == label]
            windows = np.lib.stride_tricks.sliding_window_view(np.where(ink > 0, pixels, 0), (8, 8)).reshape(
                -1, 1, 8, 8
            )
            # Noise may only brighten the ink.
            match = ((windows > 0) == (candidates >= 4)).all(axis=(2, 3)) & (
                windows >= np.where(candidates >= 4, candidates, 0)
            ).all(axis=(2, 3))
            assert match.any()
            found += 1
    assert 16 < found < 32
    assert source.class_names == ("ground", *digits.class_names)
    assert zoo.load_source(source.as_dict()).fingerprint == source.fingerprint


def test_a_folder_of_the_same_name_is_pointed_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for label in ("red", "white"):
        (tmp_path / "wine" / label).mkdir(parents=True)
        for index in range(2):
            Image.new("RGB", (4, 4), label).save(tmp_path / "wine" / label / f"{index}.png")
    with pytest.warns(UserWarning, match=r"'wine' is the data set of this name; the folder would be './wine'"):
        assert zoo.load_source("wine").table is not None
    assert zoo.load_source("./wine", cache=False).class_names == ("red", "white")
