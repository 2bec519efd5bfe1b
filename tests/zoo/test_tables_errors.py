"""What the networks for tables refuse."""

import numpy as np
import pytest

import zoo
from tests.zoo.test_tables_networks import SMALL, every_builder
from zoo.networks.tables.adaptation import adapt
from zoo.networks.tables.resnet import tabular_resnet


@every_builder
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"input_shape": (8, 8, 1)}, r"input_shape=\(8, 8, 1\)"),
        ({"input_shape": 8}, "input_shape=8"),
        ({"input_shape": (None,)}, r"input_shape\[0\]="),
        ({"input_shape": (0,)}, r"input_shape\[0\]=0"),
        ({"classes": 0}, "classes=0"),
        ({"depth": 0}, "depth=0"),
        ({"width": 0}, "width=0"),
        ({"categories": (3,) * 5}, r"categories=\(3, 3, 3, 3, 3\)"),
        ({"categories": 3}, "categories=3"),
        ({"categories": (0,)}, "categories=0"),
        ({"categories": (3,), "embedding_size": 0}, "embedding_size=0"),
        ({"scaling": "minmax"}, "scaling='minmax'"),
        ({"weight_decay": -1.0}, r"weight_decay=-1\.0"),
    ],
)
def test_arguments_out_of_range_are_refused(builder, arguments, named):
    with pytest.raises(ValueError, match=f"Expected .* Received: {named}"):
        builder(**({"input_shape": (4,)} | arguments))


@pytest.mark.parametrize("value", [-0.5, float("nan"), "x", None, True])
@pytest.mark.parametrize("argument", ["dropout", "residual_dropout", "expansion", "survival_prob"])
def test_numbers_out_of_range_are_refused(argument, value):
    with pytest.raises(ValueError, match=f"Expected {argument} to be a .* Received: {argument}={value!r}"):
        tabular_resnet((4,), **{argument: value})


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        (np.zeros((3, 4)), r"an array of shape \(3, 4\)"),
        (np.zeros((0, 5)), r"an array of shape \(0, 5\)"),
        (np.zeros(5), r"an array of shape \(5,\)"),
        (np.full((3, 5), np.inf), "infinity"),
        ([[1, 2, 3, 4, "Bern"]], "could not convert string to float: 'Bern'"),
        (np.zeros(3, "f4,U3"), "Cannot cast array data"),
    ],
)
def test_statistics_of_no_rows_are_refused(rows, named):
    with pytest.raises(ValueError, match=f"Expected rows .* Received: {named}"):
        adapt(tabular_resnet((5,), scaling="standard", **SMALL), rows)


def test_a_network_that_scales_nothing_has_no_statistics():
    with pytest.raises(ValueError, match=r"Expected a network built with scaling=.* Received: model='tabular_resnet'"):
        adapt(zoo.build("tabular_resnet"), np.zeros((3, 54)))
