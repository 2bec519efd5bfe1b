"""Networks by name."""

import functools
import inspect
import re
from dataclasses import replace

import keras
import pytest

import zoo
from zoo.networks._arguments import ARGUMENTS, document
from zoo.networks.catalogue import FAMILIES, MODELS
from zoo.networks.family import TASKS

BUILDERS = list(dict.fromkeys(family.builder for family in FAMILIES))


def test_every_network_has_a_name_of_its_own():
    assert len(MODELS) == sum(len(family.rows) for family in FAMILIES)


@pytest.mark.parametrize("builder", BUILDERS)
def test_the_docstring_of_a_builder_describes_each_of_its_arguments_once_and_in_order(builder):
    described = re.search(r"\nArgs:\n(.*?)\n\nReturns:", builder.__doc__, re.DOTALL)[1]
    names = re.findall(r"^ {4}(\w+): [A-Z\d(f\"]", described, re.MULTILINE)
    assert names == list(inspect.signature(builder).parameters)


@pytest.mark.parametrize("indentation", ["", "    "])
def test_a_builders_own_description_of_an_argument_goes_before_the_shared_one(indentation):
    """Python removes the indentation of docstrings from 3.13 on."""

    def build(input_shape, classes): ...

    own = "Builds.\n\nArgs:\n    classes: Not images.\n\nReturns:\n    A model."
    build.__doc__ = own.replace("\n", f"\n{indentation}")
    shared = f"    input_shape: {ARGUMENTS['input_shape']}\n"
    assert document(build).__doc__ == own.replace("    classes", f"{shared}    classes", 1)


def test_list_models_by_pattern():
    assert zoo.list_models("*_mlp") == ["dense_mlp", "highway_mlp", "plain_mlp", "residual_mlp", "stack_mlp"]
    assert "resnet20" in zoo.list_models()
    assert zoo.list_models("nothing*") == []


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("Highway19", ["highway19", "highway19_carry"]),
        ("wide resnet50", ["wide_resnet50_2"]),
        ("DenseNet-40-12", ["densenet_40_12"]),
        ("resnet1202 stochastic", ["stochastic_resnet1202"]),
        ("wide_resent50_2", ["wide_resnet101_2", "wide_resnet50_2"]),
        ("video", ["mc3_18", "r2plus1d_18", "r3d_18"]),
        ("convolutional segmentation", ["fc_densenet_103", "fc_densenet_56", "fc_densenet_67"]),
        ("qwerty", []),
        ("  ", []),
    ],
)
def test_list_models_by_words_and_nearly_right_names(words, found):
    assert zoo.list_models(words) == found


def test_the_first_part_of_a_name_is_near_enough():
    assert "resnext50_32x4d" in zoo.list_models("resnxt50")
    with pytest.raises(ValueError, match=r"Did you mean resnext50_32x4d or "):
        zoo.build("resnext50")


def test_every_naming_says_whose_it_is():
    unnamed = [family.summary for family in FAMILIES for naming in family.namings if not naming.library]
    assert unnamed == []


def test_list_models_by_task():
    by_task = {task: zoo.list_models(task=task) for task in TASKS}
    assert sorted(name for names in by_task.values() for name in names) == zoo.list_models()
    assert "resnet20" in by_task["classification"]
    assert zoo.list_models("resnet20", task="tables") == []
    with pytest.raises(ValueError, match=r"Expected task to be one of .*\. Received: 'table'\. Did you mean tables\?"):
        zoo.list_models(task="table")


def test_describe_counts_the_parameters():
    card = zoo.describe("resnet20")
    assert (card.parameters, card.non_trainable, card.depth) == (269_722, 1_376, 20)
    assert "1512.03385" in card.paper
    assert "8.75" in card.paper_error
    assert card.arguments["shortcut"] == "pad"


@pytest.mark.parametrize("name", MODELS)
def test_arguments_of_a_network_go_before_its_builders_and_those_of_the_caller_before_both(name, monkeypatch):
    entry = MODELS[name]
    assert zoo.describe(name).arguments.items() >= entry.arguments.items()
    built = {}

    @functools.wraps(entry.family.builder)
    def record(input_shape, **arguments):
        arguments.pop("build_backbone", None)
        built.update(arguments, input_shape=input_shape)

    monkeypatch.setitem(MODELS, name, replace(entry, family=replace(entry.family, builder=record)))
    zoo.build(name)
    assert built == {**entry.arguments, "classes": entry.family.classes, "input_shape": entry.family.input_shape}
    zoo.build(name, classes=3, weight_decay=0.5)
    assert (built["weight_decay"], built["classes"]) == (0.5, 3)


@pytest.mark.parametrize("call", [zoo.build, zoo.describe, zoo.load])
def test_wrong_name_suggests_the_nearest(call):
    with pytest.raises(ValueError, match=r"Received: 'resnet2O'\. Did you mean .*\bresnet20\b.*\?"):
        call("resnet2O")


def test_the_name_of_a_recipe_is_answered_with_its_network():
    with pytest.raises(ValueError, match=r"Received: 'resnet20_digits'\. resnet20_digits is a recipe; .* resnet20\.$"):
        zoo.build("resnet20_digits")


@pytest.mark.parametrize(
    ("call", "command"),
    [(zoo.build, "list"), (zoo.describe, "list"), (zoo.load, "list"), (zoo.get_recipe, "recipes")],
)
def test_a_name_unlike_all_others_does_not_list_dozens(call, command):
    with pytest.raises(ValueError, match=rf"one of \d+ names\. Received: 'x'\. `keras-skip {command}` shows them\.$"):
        call("x")


def test_wrong_argument_suggests_the_nearest():
    with pytest.raises(ValueError, match=r"Received: 'shortcuts'\. Did you mean shortcut\?"):
        zoo.build("resnet20", shortcuts="pad")


def test_values_that_keras_refuses_are_named():
    with pytest.raises(ValueError, match=r"^Expected arguments that airbench94 can be .* Received: activation='x': "):
        zoo.build("airbench94", activation="x")


def test_public_names_load_on_first_use():
    assert set(dir(zoo)) == set(zoo.__all__)
    assert all(getattr(zoo, name) is not None for name in zoo.__all__)
    with pytest.raises(AttributeError, match=r"attribute '?nothing'?"):
        zoo.nothing  # noqa: B018


def test_built_networks_are_not_compiled():
    model = zoo.build("plain_mlp")
    assert isinstance(model, keras.Model)
    assert not model.compiled
