"""The tables of networks: what the terminal shows, and the page in docs/."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

import zoo
from zoo.cli import app
from zoo.networks.catalogue import MODELS
from zoo.networks.family import TASKS
from zoo.networks.registry import explain_arguments
from zoo.reports import listing

PAGE = Path(__file__).parents[2] / "docs" / "networks.md"
COMMAND = "keras-skip list --format markdown > docs/networks.md"


def run(*arguments, columns=200):
    done = CliRunner().invoke(app, [*arguments], env={"COLUMNS": str(columns)})
    assert done.exit_code == 0, done.output
    return done.output


def test_page_is_what_the_command_writes():
    assert COMMAND in PAGE.read_text(encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == run("list", "--format", "markdown"), f"Run {COMMAND}"


def test_page_has_a_row_for_every_network_of_as_many_cells():
    table = [line for line in listing.page(list(MODELS)).splitlines() if line.startswith("|")]
    assert {line.count(" | ") for line in table} == {len(listing.PAGE_COLUMNS) - 1}
    named = [line.split("`")[1] for line in table if line.startswith("| `")]
    tasks = list(TASKS)
    assert named == sorted(MODELS, key=lambda name: tasks.index(MODELS[name].family.task))
    (row,) = [line for line in table if "`resnet20`" in line]
    for text in ("| 269,722 | 40.6 M | 20 | 8.75 % on CIFAR-10 |", "`resnet20_digits`"):
        assert text in row


def test_list_shows_size_depth_error_and_recipes():
    shown = run("list", "resnet20")
    for text in ("269,722", " 20 ", "8.75 % on CIFAR-10", "resnet20_digits"):
        assert text in shown
    assert "resnet32" not in shown


def test_list_by_task_and_by_a_name_that_is_nearly_right():
    assert "resnet20" in run("list", "--task", "classification")
    assert "densenet_bc_100_12" in run("list", "densnet_bc_100_12")
    done = CliRunner().invoke(app, ["list", "--task", "masks"])
    assert str(done.exception).startswith("Expected task to be one of classification,")
    done = CliRunner().invoke(app, ["list", "qwerty", "--task", "tables"])
    assert str(done.exception).startswith("Expected a pattern that matches a network for tables;")


def test_where_there_is_no_terminal_each_network_is_one_line():
    shown = run("list", columns=80).splitlines()
    of_network = {line.split()[0]: line for line in shown if line.strip()}
    assert of_network.keys() >= MODELS.keys()
    assert of_network["resnet20"].endswith("resnet20_digits, resnet20_cifar10_fast, resnet20_cifar10")


def test_networks_stand_by_family():
    shown = run("list", "resnet*")
    assert shown.index("resnet20 ") < shown.index("resnet110 ") < shown.index("resnet18 ")


@pytest.mark.parametrize(
    ("pattern", "names"), [("*mlp_digits", 5), ("plain_mlp", 2), ("resnet20_d*", 1), ("airbench", 5)]
)
def test_recipes_are_chosen_by_their_names_or_their_networks(pattern, names):
    *_, lines = CliRunner().invoke(app, ["recipes", pattern]).output.partition("-\n")
    assert len(lines.split("\n\n")[0].splitlines()) == names


def test_pattern_that_matches_no_recipe_is_refused():
    done = CliRunner().invoke(app, ["recipes", "resnet34"])
    assert str(done.exception).endswith("`keras-skip recipes` shows all. Received: 'resnet34'")


def test_wrong_format_is_refused():
    done = CliRunner().invoke(app, ["list", "--format", "html"])
    assert str(done.exception) == "Expected --format to be one of table, markdown. Received: --format html"


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("resnet20", ["269,722 trainable, 1,376 others", "40,551,040", "8.75 %", "1512.03385", "resnet20_digits"]),
        ("densenet121", ["7,978,856", "2,834,161,664", "imagenet", "224 x 224 x 3, 1000 classes"]),
        ("unet", ["segmentation_models_pytorch", "'plain'", '"attention"']),
    ],
)
def test_describe_shows_what_is_known(name, texts):
    shown = run("describe", name)
    for text in texts:
        assert text in shown


@pytest.mark.parametrize("name", MODELS)
def test_every_argument_of_a_network_is_explained(name):
    meanings = explain_arguments(name)
    assert all(len(meanings[argument]) > 5 for argument in zoo.describe(name).arguments)


def test_description_names_recipes_measurements_and_weights():
    card = zoo.describe("resnet20")
    assert "resnet20_digits" in card.recipes
    assert card.measured == {name: zoo.get_recipe(name).result for name in card.recipes if zoo.get_recipe(name).result}
    assert "resnet20_digits" in card.measured
    assert "imagenet" in zoo.describe("resnet50_keras").weights
    assert zoo.describe("plain_mlp").measured == {}
