"""Recipes are checked data, and the schedules are their formulas."""

import inspect
import json
import math
import shlex

import numpy as np
import pytest

import zoo
from zoo.data import Augmentation
from zoo.networks.catalogue import MODELS
from zoo.training.command import command
from zoo.training.recipe import Optimizer, Schedule, parse_setting
from zoo.training.schedules import Rate

# Training images, and the shape of one.
SOURCES = {
    "digits": (1438, (8, 8, 1)),
    "mnist": (60000, (28, 28, 1)),
    "cifar10": (50000, (32, 32, 3)),
    "imagenet": (1_281_167, (224, 224, 3)),
}
# Those that are no images in classes; their networks take any shape.
OTHERS = {
    "digits_signals": (1438, (64, 1)),
    "digits_masks": (400, (32, 32, 1)),
    "wine": (142, (13,)),
    "breast_cancer": (456, (30,)),
    "diabetes": (354, (10,)),
}


@pytest.mark.parametrize("name", zoo.list_recipes())
def test_recipe_is_consistent(name):
    recipe = zoo.get_recipe(name)
    family = MODELS[recipe.network].family
    arguments = MODELS[recipe.network].arguments | recipe.arguments
    inspect.signature(family.builder).bind_partial(family.input_shape, weight_decay=0.0, **arguments)
    data = " --data FOLDER" if recipe.source == "imagenet" else ""
    assert recipe.command == f"keras-skip train {name}{data}"
    examples, shape = (SOURCES | OTHERS)[recipe.source]
    assert recipe.source in OTHERS or family.input_shape == shape or (name.endswith("_digits") or "mlp" in name)
    steps = recipe.epochs * math.ceil(examples / recipe.batch_size)
    # The warm-up and every plateau last some steps.
    edges = [0.0, recipe.schedule.warmup, *recipe.schedule.milestones, 1.0]
    assert edges == sorted(edges)
    assert recipe.schedule.warmup == 0 or recipe.schedule.warmup * steps > 10
    assert zoo.Recipe.from_dict(json.loads(json.dumps(recipe.as_dict()))) == recipe


def test_every_network_for_small_images_has_the_recipe_of_its_paper():
    families = {name: MODELS[name].family for name in zoo.list_models(task="classification")}
    small = [name for name, family in families.items() if family.paper and family.input_shape[0] <= 32]
    small = [name for name in small if "mlp" not in name]
    for name in small:
        recipe = zoo.get_recipe(f"{name}_{'mnist' if 'mnist' in name else 'cifar10'}")
        assert MODELS[name].paper_error in recipe.paper


@pytest.mark.parametrize(
    ("name", "iterations", "drops"),
    [
        ("resnet56_cifar10", 64000, (32000, 48000)),
        ("preact_resnet164_cifar10", 64000, (32000, 48000)),
        ("highway19_cifar10", 200000, (100000, 150000, 175000)),
        ("highway_mnist_32_mnist", 180000, (60000, 120000)),
    ],
)
def test_lengths_in_iterations_are_those_of_the_paper(name, iterations, drops):
    recipe = zoo.get_recipe(name)
    steps = recipe.epochs * math.ceil(SOURCES[recipe.source][0] / recipe.batch_size)
    assert steps == pytest.approx(iterations, rel=0.005)
    assert [m * iterations for m in recipe.schedule.milestones] == pytest.approx(drops)


def test_only_the_deepest_residual_networks_warm_up():
    warm_up = {depth: zoo.get_recipe(f"resnet{depth}_cifar10").schedule.warmup for depth in (56, 110, 1202)}
    assert warm_up == {56: 0.0, 110: 400 / 64000, 1202: 400 / 64000}


@pytest.mark.parametrize("name", [name for name in zoo.list_recipes() if name.endswith("_fast")])
def test_fast_recipe_builds_its_network(name):
    recipe = zoo.get_recipe(name)
    shape = SOURCES[recipe.source][1]
    model = zoo.build(recipe.network, shape, weight_decay=recipe.optimizer.weight_decay, **recipe.arguments)
    assert model.input_shape == (None, *shape)


def test_mlps_are_trained_alike():
    recipes = [zoo.get_recipe(f"{kind}_mlp_digits").as_dict() for kind in ("plain", "residual", "highway", "dense")]
    own = {"name", "network", "command", "cost", "result"}
    settings = [{key: value for key, value in recipe.items() if key not in own} for recipe in recipes]
    assert all(other == settings[0] for other in settings)


def test_unknown_recipe_suggests_the_nearest():
    with pytest.raises(ValueError, match="Received: 'resnet20_digit'. Did you mean resnet20_digits"):
        zoo.get_recipe("resnet20_digit")


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ("wrn_16_2", "its recipes are wrn_16_2_cifar10_fast, wrn_16_2_cifar10."),
        ("resnet34", "resnet34 is a network without a recipe."),
    ],
)
def test_the_name_of_a_network_is_answered_with_its_recipes_alone(network, said):
    with pytest.raises(ValueError) as refused:
        zoo.get_recipe(network)
    assert str(refused.value).startswith(f"Expected recipe to be one of {len(zoo.list_recipes())} names. Received: ")
    assert str(refused.value).endswith(said)


def test_unknown_setting_suggests_the_nearest_or_lists_all():
    with pytest.raises(ValueError, match=r"Received: 'epoch'\. Did you mean epochs\?"):
        zoo.get_recipe("resnet20_digits").changed(epoch=3)
    with pytest.raises(ValueError, match=r"one of .*batch_size.*optimizer\.weight_decay.*Received: 'x'"):
        zoo.get_recipe("resnet20_digits").changed(x=3)


@pytest.mark.parametrize(("name", "nearest"), [("lr", "optimizer.lr"), ("augment.cut", "augment.cutout")])
def test_unknown_dotted_setting_suggests_the_nearest(name, nearest):
    with pytest.raises(ValueError, match=rf"Did you mean .*\b{nearest}\b"):
        zoo.get_recipe("resnet20_digits").changed({name: 3})


def test_dotted_names_change_what_they_name_and_nothing_else():
    before = zoo.get_recipe("resnet20_digits")
    after = before.changed({"optimizer.lr": 0.2, "arguments.depth": 32, "augment.cutout": 2}, epochs=3)
    assert (after.optimizer.lr, after.arguments, after.augment.cutout, after.epochs) == (0.2, {"depth": 32}, 2, 3)
    undone = {"optimizer.lr": 0.1, "arguments": {}, "augment.cutout": 0, "epochs": before.epochs}
    assert after.changed(undone) == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", 2024),
        ("network", None),
        ("source", 5),
        ("accumulate", 0),
        ("epochs", 0),
        ("epochs", 2.0),
        ("epochs", True),
        ("batch_size", -1),
        ("seed", -1),
        ("augment.pad", 1.5),
        ("augment.pad_mode", "wrap"),
        ("augment.flip", "yes"),
        ("optimizer.lr", 0),
        ("optimizer.lr", "fast"),
        ("optimizer.momentum", 1.0),
        ("optimizer.weight_decay", -1e-4),
        ("optimizer.clip_norm", -1),
        ("optimizer.ema", 1.0),
        ("optimizer.rates", {"head/*": -1.0}),
        ("optimizer.rates", {"head/*": "fast"}),
        ("optimizer.rates", [("head/*", 1.0)]),
        ("optimizer.lookahead", 2.5),
        ("optimizer.lookahead", -1),
        ("optimizer.decoupled", 1),
        ("initialization", "dirac"),
        ("initialization", ("identity",)),
        ("evaluate_every", 0),
        ("augment.sizes", ((0.5, 8), (0.0, 20))),
        ("optimizer.nesterov", 1),
        ("optimizer", {"lr": 1.0}),
        ("schedule.kind", "linear"),
        ("schedule.warmup", -0.1),
        ("schedule.warmup_factor", 0),
        ("schedule.milestones", [0.5, 2]),
        ("label_smoothing", 1),
        ("precision", "float8"),
        ("jit", "auto"),
        ("arguments", "depth=20"),
    ],
)
def test_setting_out_of_range_is_refused(name, value):
    last = name.rpartition(".")[2]
    with pytest.raises(ValueError, match=f"Expected {last} to be .* Received: {last}="):
        zoo.get_recipe("resnet20_digits").changed({name: value})


@pytest.mark.parametrize("name", ["epochs", "batch_size", "seed"])
def test_a_number_that_is_too_large_is_told_the_bound(name):
    with pytest.raises(ValueError, match=f"Expected {name} to be .* below 2\\*\\*32. Received: {name}=4294967296"):
        zoo.get_recipe("resnet20_digits").changed({name: 2**32})
    assert getattr(zoo.get_recipe("resnet20_digits").changed({name: 2**32 - 1}), name) == 2**32 - 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("optimizer.lr=0.05", ("optimizer.lr", 0.05)),
        ("schedule.kind=cosine", ("schedule.kind", "cosine")),
        ("augment.flip=True", ("augment.flip", True)),
        ("arguments={'depth': 32}", ("arguments", {"depth": 32})),
    ],
)
def test_setting_is_read_from_text(text, expected):
    assert parse_setting(text) == expected


@pytest.mark.parametrize("text", ["epochs", "=3", ""])
def test_setting_without_name_or_value_is_refused(text):
    with pytest.raises(ValueError, match="Expected a setting as name=value"):
        parse_setting(text)


def expected_rate(schedule, step, *, steps, peak):
    t, warmup = (step + 0.5) / steps, schedule.warmup
    if t < warmup:
        return peak * (t / warmup if schedule.warmup_factor is None else schedule.warmup_factor)
    if schedule.kind == "one-cycle":
        return peak * (1 - t) / (1 - warmup)
    if schedule.kind == "cosine":
        return peak * (1 + math.cos(math.pi * (t - warmup) / (1 - warmup))) / 2
    if schedule.kind == "constant":
        return peak
    return peak * schedule.factor ** sum(t >= milestone for milestone in schedule.milestones)


@pytest.mark.parametrize("kind", ["one-cycle", "cosine", "step", "constant"])
@pytest.mark.parametrize("warmup", [{}, {"warmup": 0.3}, {"warmup": 0.3, "warmup_factor": 0.1}])
def test_schedule_is_its_formula(kind, warmup):
    settings = Schedule(kind=kind, **warmup)
    recipe = zoo.get_recipe("resnet20_digits").changed({"schedule": settings, "optimizer.lr": 0.4})
    rate = Rate.from_recipe(recipe, steps=40)
    rates = [float(rate(step)) for step in range(40)]
    expected = [expected_rate(settings, step, steps=40, peak=0.4) for step in range(40)]
    np.testing.assert_allclose(rates, expected, rtol=1e-5, atol=1e-8)
    assert min(rates) > 0
    assert float(Rate.from_config(rate.get_config())(17)) == rates[17]


def test_lookahead_and_averages_exclude_each_other():
    settings = {"optimizer.lookahead": 5, "optimizer.ema": 0.99}
    with pytest.raises(ValueError, match=r"Expected lookahead to be 0 with ema=0.99. Received: lookahead=5"):
        zoo.get_recipe("resnet20_digits").changed({"optimizer": Optimizer()}).changed(settings)


def test_every_setting_survives_the_record_and_the_command_line():
    settings = {
        "optimizer.rates": {"*/beta": 64.0, "*": 0.5},
        "optimizer.lookahead": 5,
        "initialization": ("dirac", "whitening"),
        "augment.flip": "alternating",
        "augment.sizes": ((0.0, 20), (0.6, 32)),
        "evaluate_every": 4,
        "optimizer.kind": "lamb",
        "accumulate": 8,
        "loss": "binary",
        "loss_threshold": 0.2,
        "image_size": (48, 64),
        "shorter": 70,
    }
    recipe = zoo.get_recipe("resnet20_cifar10_fast").changed(settings)
    assert zoo.Recipe.from_dict(json.loads(json.dumps(recipe.as_dict()))) == recipe
    assert json.loads(json.dumps(recipe.as_dict())) == recipe.as_dict()
    words = shlex.split(command({"recipe": recipe.as_dict()}))
    read = dict(parse_setting(word) for word, option in zip(words[1:], words, strict=False) if option == "--set")
    assert zoo.get_recipe(words[2]).changed(read) == recipe


def test_settings_are_frozen_and_without_surprises():
    assert zoo.get_recipe("resnet20_digits").augment == Augmentation(pad=1)
    with pytest.raises(AttributeError):
        zoo.get_recipe("resnet20_digits").optimizer.lr = 1
    assert Optimizer() == Optimizer(ema=0.0)
