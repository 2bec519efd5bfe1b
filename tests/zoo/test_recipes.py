"""Recipes are checked data, and the schedules are their formulas."""

import math

import numpy as np
import pytest

import zoo
from zoo.recipes import setting
from zoo.schedules import Schedule


@pytest.mark.parametrize("name", zoo.list_recipes())
def test_recipe_names_a_network_and_a_command_and_survives_json(name):
    import json

    recipe = zoo.get_recipe(name)
    assert recipe.network in zoo.list_models()
    assert recipe.command == f"keras-skip train {name}"
    assert zoo.Recipe.from_dict(json.loads(json.dumps(recipe.as_dict()))) == recipe


def test_mlps_are_trained_alike():
    recipes = [zoo.get_recipe(f"{kind}_mlp_digits").as_dict() for kind in ("plain", "residual", "highway", "dense")]
    own = {"name", "network", "command", "cost", "result"}
    settings = [{key: value for key, value in recipe.items() if key not in own} for recipe in recipes]
    assert all(other == settings[0] for other in settings)


def test_unknown_recipe_suggests_the_nearest():
    with pytest.raises(ValueError, match="Received: 'resnet20_digit'. Did you mean resnet20_digits"):
        zoo.get_recipe("resnet20_digit")


def test_unknown_setting_lists_the_right_ones():
    with pytest.raises(
        ValueError, match=r"one of .*batch_size.*weight_decay.*Received: 'epoch'\. Did you mean epochs\?"
    ):
        zoo.get_recipe("resnet20_digits").changed(epoch=3)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("epochs", 2.0),
        ("epochs", True),
        ("batch_size", -1),
        ("seed", -1),
        ("pad", 1.5),
        ("learning_rate", 0),
        ("learning_rate", "fast"),
        ("momentum", 1.0),
        ("warmup", -0.1),
        ("weight_decay", -1e-4),
        ("label_smoothing", 1),
        ("schedule", "linear"),
        ("precision", "float8"),
        ("pad_mode", "wrap"),
        ("flip", "yes"),
        ("milestones", [0.5, 2]),
        ("arguments", "depth=20"),
    ],
)
def test_setting_out_of_range_is_refused(name, value):
    with pytest.raises(ValueError, match=f"Expected {name} to be .* Received: {name}="):
        zoo.get_recipe("resnet20_digits").changed(**{name: value})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("learning_rate=0.05", ("learning_rate", 0.05)),
        ("schedule=cosine", ("schedule", "cosine")),
        ("flip=True", ("flip", True)),
        ("arguments={'depth': 32}", ("arguments", {"depth": 32})),
    ],
)
def test_setting_is_read_from_text(text, expected):
    assert setting(text) == expected


@pytest.mark.parametrize("text", ["epochs", "=3", ""])
def test_setting_without_name_or_value_is_refused(text):
    with pytest.raises(ValueError, match="Expected a setting as name=value"):
        setting(text)


def expected_rate(kind, step, *, steps, warmup, peak=0.4, milestones=(0.5, 0.75), factor=0.1):
    t = (step + 0.5) / steps
    if t < warmup:
        return peak * t / warmup
    if kind == "one-cycle":
        return peak * (1 - t) / (1 - warmup)
    if kind == "cosine":
        return peak * (1 + math.cos(math.pi * (t - warmup) / (1 - warmup))) / 2
    return peak * factor ** sum(t >= milestone for milestone in milestones)


@pytest.mark.parametrize("kind", ["one-cycle", "cosine", "step"])
@pytest.mark.parametrize("warmup", [0.0, 0.3])
def test_schedule_is_its_formula(kind, warmup):
    recipe = zoo.get_recipe("resnet20_digits").changed(schedule=kind, warmup=warmup, learning_rate=0.4)
    schedule = Schedule.of(recipe, steps=40)
    rates = [float(schedule(step)) for step in range(40)]
    expected = [expected_rate(kind, step, steps=40, warmup=warmup) for step in range(40)]
    np.testing.assert_allclose(rates, expected, rtol=1e-5, atol=1e-8)
    assert min(rates) > 0
    assert float(Schedule.from_config(schedule.get_config())(17)) == rates[17]
