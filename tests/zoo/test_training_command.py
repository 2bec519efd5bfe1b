"""The command that repeats a run, read by the command line itself, and whose figures a changed recipe shows."""

import shlex

import pytest
import typer

import zoo.cli
from zoo.training.command import clear_inherited_figures, command
from zoo.training.recipe import parse_setting
from zoo.training.recipes import RECIPES, get_recipe

DIGITS = get_recipe("resnet20_digits")
CHANGES = [
    {},
    {"seed": 3, "epochs": 2},
    {"optimizer.lr": 0.2, "arguments.depth": 8, "schedule.kind": "step", "schedule.milestones": (0.25, 0.5)},
    {"name": "mine", "augment.flip": True, "jit": False, "label_smoothing": 0.1, "batch_size": 7},
    {"name": "mine", "network": "wrn_16_2", "source": "/photos of 2026/all", "precision": "mixed_bfloat16"},
    {"source": "3"},
    {"arguments": {"kind": "None", "other": None}},
    {"weights": "my run", "freeze": "backbone", "unfreeze_after": 2, "keep": "best", "patience": 3},
    {"class_weight": "balanced", "precision": "mixed_float16"},
]
OPTIONS = ("epochs", "seed", "weights", "freeze", "unfreeze_after", "keep", "patience", "class_weight", "precision")


def parsed(line):
    """The options of `train` as the command line reads them."""
    program, name, *words = shlex.split(line)
    assert (program, name) == ("keras-skip", "train")
    train = typer.main.get_command(zoo.cli.app).commands["train"]
    with train.make_context("train", words) as context:
        return context.params


@pytest.mark.parametrize("changes", CHANGES, ids=str)
@pytest.mark.parametrize("base", ["resnet20_digits", "highway19_cifar10"])
def test_the_command_trains_the_same_again(base, changes):
    recipe = get_recipe(base).changed(changes)
    given = parsed(command({"recipe": recipe.as_dict()}))
    overrides = dict(map(parse_setting, given["settings"] or ()))
    overrides |= {name: given[name] for name in OPTIONS if given[name] is not None}
    overrides |= {"source": given["data"]} if given["data"] else {}
    again = get_recipe(given["recipe"]).changed(overrides)
    assert "name" in changes or given["recipe"] == base
    told = {name: "" for name in ("name", "command", "paper", "cost", "result")}
    assert again.changed(told) == recipe.changed(told)


def test_an_argument_that_is_left_out_is_left_out_again():
    recipe = get_recipe("highway19_cifar10").changed(arguments={})
    assert command({"recipe": recipe.as_dict()}) == "keras-skip train highway19_cifar10 --set 'arguments={}'"


def test_the_data_are_read_and_split_as_they_were():
    options = {"image_size": [48, 64], "resize": "crop", "on_bad_image": "skip"}
    source = {"options": options, "validation": {"fraction": 0.1, "seed": 0}}
    devices = {"count": 2, "kind": "gpu", "processes": 1}
    record = {"recipe": DIGITS.changed(source="/my/photos").as_dict(), "source": source, "devices": devices}
    given = parsed(command(record | {"gradients": 200}))
    wanted = {"image_size": "48x64", "on_bad_image": "skip", "validation": 0.1, "gradients": 200, "data": "/my/photos"}
    assert {name: given[name] for name in wanted} == wanted
    assert (given["device"], given["devices"]) == ("gpu", 2)
    assert parsed(command(record, full_paths=False))["data"] == "photos"
    options |= {"stream": True, "shorter": 80}
    given = parsed(command(record))
    assert (given["stream"], given["shorter"]) == (True, 80)
    del options["stream"], options["shorter"]
    options |= {"image_size": [8, 8], "on_bad_image": "error"}
    square = record | {"source": {"options": options}, "devices": {"count": 1}}
    assert command(square) == "keras-skip train resnet20_digits --data /my/photos --image-size 8"
    options["resize"] = "stretch"
    assert command(square) == "keras-skip train resnet20_digits --data /my/photos --image-size 8 --resize stretch"
    del options["resize"]  # as in runs from before there was a choice
    assert command(square) == "keras-skip train resnet20_digits --data /my/photos --image-size 8 --resize stretch"
    options["image_size"] = None
    assert command(square) == "keras-skip train resnet20_digits --data /my/photos"


def test_figures_are_left_to_the_recipe_that_has_them():
    assert DIGITS.cost and DIGITS.result
    assert clear_inherited_figures(DIGITS.changed(seed=5)) == DIGITS.changed(seed=5)
    for changes in ({"epochs": 1}, {"source": "/my/photos"}, {"name": "mine"}, {"arguments.depth": 8}):
        changed = clear_inherited_figures(DIGITS.changed(changes))
        assert changed == DIGITS.changed(changes).changed(command="", cost="", result="")
    mine = DIGITS.changed(epochs=1, cost="a day", result="all of them")
    assert (clear_inherited_figures(mine).cost, clear_inherited_figures(mine).result) == ("a day", "all of them")


def test_the_papers_error_is_that_of_its_data():
    paper = RECIPES["resnet20_cifar10"]
    assert clear_inherited_figures(paper.changed(epochs=1)).paper == paper.paper != ""
    assert clear_inherited_figures(paper.changed(source="/my/photos")).paper == ""
    assert clear_inherited_figures(paper.changed(network="resnet32")).paper == ""
