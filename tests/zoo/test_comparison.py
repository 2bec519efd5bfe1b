"""Networks under one budget: the runs, the table, the figure, and how a comparison is resumed."""

import csv
from pathlib import Path

import numpy as np
import pytest

import zoo
from zoo.analysis import charts
from zoo.training import comparison, measured_precision
from zoo.training.comparison import Candidate, rows, summary

NETWORKS = ["plain_mlp:depth=3", "highway_mlp:depth=4,carry=coupled"]
BUDGET = {"seeds": 2, "epochs": 2, "batch_size": 64}
pytestmark = pytest.mark.usefixtures("no_report")


@pytest.fixture(scope="module")
def compared(small_source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zoo.training.loop.write_report", lambda *ignored: None)
        return folder, zoo.compare(NETWORKS, folder, small_source, **BUDGET)


def test_every_network_is_trained_alike_with_every_seed(compared):
    folder, runs = compared
    assert list(runs) == NETWORKS
    for network, of_it in runs.items():
        assert [run.recipe.seed for run in of_it] == [0, 1]
        assert {run.status for run in of_it} == {"complete"}
        assert {run.recipe.network for run in of_it} == {network.partition(":")[0]}
        budgets = {(run.recipe.epochs, run.recipe.batch_size, run.recipe.optimizer) for run in of_it}
        assert budgets == {(2, 64, zoo.get_recipe("plain_mlp_digits").optimizer)}
    plain, highway = runs.values()
    assert plain[0].recipe.arguments == {"depth": 3}
    assert highway[0].recipe.arguments == {"depth": 4, "carry": "coupled"}
    assert (folder / "highway_mlp-depth=4-carry=coupled-1" / "model.keras").is_file()
    assert not np.array_equal(*(zoo.load(run.path).get_weights()[0] for run in plain))


def test_table_and_figure_show_the_histories(compared):
    folder, runs = compared
    with (folder / "comparison.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 2 * 2 * 2
    for row in table:
        run = runs[row["network"]][int(row["seed"])]
        with (run.path / "history.csv").open(newline="") as file:
            of_run = list(csv.DictReader(file))[int(row["epoch"]) - 1]
        assert float(row["test_accuracy"]) == float(of_run["test_accuracy"])
    figure = charts.comparison(rows(runs))
    accuracy, loss = figure.axes
    assert accuracy.get_ylabel() == "%" and loss.get_ylabel() == "cross-entropy"
    for line, network in zip(accuracy.lines, NETWORKS, strict=True):
        of_it = [row for row in rows(runs) if row["network"] == network]
        for epoch, drawn in zip(line.get_xdata(), line.get_ydata(), strict=True):
            values = [row["test_accuracy"] for row in of_it if row["epoch"] == epoch]
            assert drawn == pytest.approx(100 * np.mean(values))
        assert line.get_label() == network
    assert len(accuracy.collections) == 2, "a band for each network"
    svg = (folder / "comparison.svg").read_text()
    assert "plain_mlp" in svg and "epoch" in svg


def test_summary_says_mean_and_spread(compared):
    _, runs = compared
    for (network, parameters, mean, spread, _), of_it in zip(summary(runs), runs.values(), strict=True):
        accuracies = [run.results["test_accuracy"] for run in of_it]
        assert network in NETWORKS and parameters == f"{of_it[0].results['parameters']:,}"
        assert mean == f"{np.mean(accuracies):.2%}"
        assert spread == f"{min(accuracies):.2%} to {max(accuracies):.2%}"


def test_what_is_there_is_not_trained_again_and_another_run_is_refused(compared, small_source):
    folder, runs = compared
    before = {run.path: (run.path / "run.json").read_bytes() for of_it in runs.values() for run in of_it}
    again = zoo.compare(NETWORKS, folder, small_source, **BUDGET)
    assert {run.path: (run.path / "run.json").read_bytes() for of_it in again.values() for run in of_it} == before
    with pytest.raises(
        ValueError, match="of this comparison in .*plain_mlp-depth=3-0.* Received: a run that differs in epochs"
    ):
        zoo.compare(NETWORKS, folder, small_source, **BUDGET | {"epochs": 3})


def test_data_in_memory_and_a_measured_precision_are_compared_again(small_source, tmp_path, monkeypatch):
    monkeypatch.setattr(measured_precision, "SPEEDUP", 0.0)
    data = {"x_train": small_source.train_inputs, "y_train": small_source.train_targets}
    data |= {"x_test": small_source.test_inputs, "y_test": small_source.test_targets}
    budget = BUDGET | {"seeds": 1, "recipe": "plain_mlp_digits", "precision": "auto"}
    first, again = (zoo.compare(NETWORKS[:1], tmp_path / "runs", data, **budget)[NETWORKS[0]][0] for _ in range(2))
    assert first.recipe.precision == "mixed_bfloat16"
    assert again.record == first.record
    with pytest.raises(ValueError, match="a run that differs in precision"):
        zoo.compare(NETWORKS[:1], tmp_path / "runs", data, **budget | {"precision": "float32"})


@pytest.mark.parametrize(
    ("networks", "options", "said"),
    [
        (["plain_mlp", "plain_mlp"], {}, "Expected different networks"),
        ([], {}, "Received: none"),
        (["plain_mpl"], {}, "Did you mean plain_mlp"),
        (["plain_mlp:depth"], {}, "name=value"),
        (["plain_mlp"], {"seeds": 0}, "seeds=0"),
        (["resnet34"], {}, "Expected a recipe, because resnet34 has none of its own"),
        (["plain_mlp"], {"epoch": 2}, "Did you mean epochs"),
        (["plain_mlp"], {"seed": 7}, "Expected settings other than network and seed.* Received: seed=7"),
        (
            ["unet:backbone=resnet20"],
            {"recipe": "resnet20_digits"},
            "Expected a network for classification.*Received: unet",
        ),
        (["plain_mlp", "highway_mlp:widht=3"], {}, "Did you mean width"),
        (["plain_mlp", "residual_mlp:depth=9"], {}, "Expected an even depth"),
        (["plain_mlp", "plain_mlp:weight_decay=x"], {}, "Received: weight_decay='x'"),
        (["plain_mlp", "highway_mlp:activation=(1, 2)"], {}, "activation"),
        (["plain_mlp", "plain_mlp:classes=3"], {}, "Expected an argument of plain_mlp"),
        (["plain_mlp", "resnet34"], {"recipe": "plain_mlp_digits"}, "at least 32"),
    ],
)
def test_mistakes_are_a_sentence_and_train_nothing(networks, options, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        zoo.compare(networks, tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


def test_folder_that_holds_something_else_is_refused_before_the_first_is_trained(tmp_path):
    (tmp_path / "highway_mlp-0").mkdir()
    (tmp_path / "highway_mlp-0" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="highway_mlp-0"):
        zoo.compare(["plain_mlp", "highway_mlp"], tmp_path, seeds=1, epochs=1)
    assert not list(tmp_path.rglob("run.json"))


def test_contestants_have_names_for_folders():
    candidate = Candidate.parse("wrn_16_2:dropout=0.3,survival_prob=(1, 0.5)")
    assert candidate.run_name(3).startswith("wrn_16_2-dropout=0.3-")
    assert "/" not in candidate.run_name(3) and " " not in candidate.run_name(3)


def test_errors_by_depth_are_drawn_as_means_over_the_seeds():
    runs = {}
    for depth, accuracies in ((20, (0.98, 0.96)), (10, (1.0, 0.99))):
        recipe = zoo.get_recipe("plain_mlp_digits").changed({"network": "plain20", "arguments.depth": depth})
        runs[f"plain20:depth={depth}"] = [
            zoo.Run(Path(), {"recipe": {**recipe.as_dict(), "seed": seed}, "results": results})
            for seed, accuracy in enumerate(accuracies)
            for results in [{"train_accuracy": accuracy, "test_accuracy": accuracy - 0.1}]
        ]
    errors = comparison.errors_by_depth(runs)
    assert errors[1] == ("plain", 20, 1, 4.0, 14.0)
    (axes,) = charts.by_depth(errors).axes
    (line,) = axes.lines
    assert (line.get_label(), [*line.get_xdata()], [*line.get_ydata()]) == ("plain", [10, 20], [0.5, 3.0])
