"""The report of a run: complete, self-contained, readable without sight."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from zoo.analysis import speed
from zoo.analysis.gating import Gates, LayerGates
from zoo.analysis.gradients import Norm
from zoo.data import Preprocessing, Source
from zoo.reports.page import write_page
from zoo.training.recipes import get_recipe
from zoo.training.runs import Run

VOID = {"meta", "img", "br", "path", "use"}


class Page(HTMLParser):
    """Collects tags with their attributes and the text; a tag closed out of order is an error."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.texts = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, text):
        if self.open[-1:] != ["style"]:
            self.texts.append(text.strip())


def source_of(classes):
    rng = np.random.default_rng(0)
    names = tuple(f"<class {place}>" for place in range(classes))
    images, labels = rng.integers(0, 17, (classes * 2, 8, 8, 1), "uint8"), np.repeat(np.arange(classes), 2)
    return Source("toys", images, labels, images, labels, names, Preprocessing.fitted(images, 1 / 16))


@pytest.fixture
def run(tmp_path):
    """The folder of a run that was completed, with figures of its own."""
    rows = ["epoch,seconds,learning_rate,loss,accuracy,test_loss,test_accuracy"]
    rows += ["1,2.5,0.01,1.5,0.5,1.25,0.625", "2,2.5,0.005,0.75,0.875,0.5,0.75"]
    (tmp_path / "history.csv").write_text("\n".join(rows) + "\n")
    results = {"test_accuracy": 0.75, "train_accuracy": 0.875, "parameters": 1234567, "seconds": 90.0}
    record = {
        "recipe": get_recipe("resnet20_digits").as_dict(),
        "results": results | {"images_per_second": 1234.5},
        "started": "2026-01-01T00:00:00+00:00",
        "versions": {"keras": "3.15.1"},
    }
    (tmp_path / "run.json").write_text(json.dumps(record))
    return Run(tmp_path, record)


def logits_of(source, wrong=()):
    """Certain answers, right but for those named."""
    answers = source.test_targets.copy()
    for place, answer in wrong:
        answers[place] = answer
    return 5.0 * np.eye(source.classes, dtype="float32")[answers]


def test_report_says_what_was_measured(run):
    source = source_of(3)
    page = Page(write_page(run, logits_of(source, [(0, 2), (5, 1)]), source).read_text())
    for said in ("resnet20 on toys", "75.00%", "87.50%", "1,234,567", "1.5 min", "optimizer.lr", "3.15.1"):
        assert said in page.texts, said
    mistakes = [attributes["alt"] for tag, attributes in page.tags if tag == "img"]
    assert [text.split(" (")[0] for text in mistakes] == [
        "<class 0>, predicted <class 2>",
        "<class 2>, predicted <class 1>",
    ]
    charts = [attributes["aria-label"] for tag, attributes in page.tags if tag == "svg"]
    assert [text.split(" by epoch")[0] for text in charts] == ["accuracy, %", "cross-entropy", "learning rate"]
    assert "training 87.5, test 75" in charts[0]


def test_report_shows_the_validation_where_some_was_held_out(run):
    text = (run.path / "history.csv").read_text()
    (run.path / "history.csv").write_text(text.replace("test_", "validation_"))
    source = source_of(3)
    page = Page(write_page(run, logits_of(source), source).read_text())
    assert any("validation 75" in attributes.get("aria-label", "") for tag, attributes in page.tags)


def test_matrix_counts_true_classes_against_answers(run):
    source = source_of(3)
    text = write_page(run, logits_of(source, [(0, 2)]), source).read_text()
    matrix = re.search(r"<table class='matrix'>.*?</table>", text)[0]
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>.*?</tr>", matrix)[1:]]
    assert rows == [["1", "", "1"], ["", "2", ""], ["", "", "2"]]


def test_classes_have_the_figures_of_scikit_learn():
    from sklearn import metrics

    from zoo.reports.page._classes import figures

    source, rng = source_of(4), np.random.default_rng(0)
    source = replace(source, test_targets=np.array([0, 0, 1, 1, 1, 0, 2, 2]))  # class 3 has no example
    logits = rng.normal(size=(8, 4))
    rows = re.findall(r"<tr>(.*?)</tr>", figures(logits, source))
    cells = [re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row) for row in rows]
    assert cells[0] == ["class", "examples", "precision", "recall", "F1", "AUC"]
    found = np.array([row[1:] for row in cells[1:]], float)
    truth, answers = source.test_targets, logits.argmax(axis=1)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    report = metrics.classification_report(truth, answers, labels=range(4), output_dict=True, zero_division=0)
    for row, name in zip(found, ["macro avg", "0", "1", "2", "3"], strict=True):
        wanted = [report[name][key] for key in ("support", "precision", "recall", "f1-score")]
        np.testing.assert_allclose(row[:4], wanted, rtol=1e-4)
    areas = [metrics.roc_auc_score(truth == index, shares[:, index]) for index in range(3)]
    np.testing.assert_allclose(found[:, 4], [np.mean(areas), *areas, np.nan], rtol=1e-4)


def test_many_classes_list_the_largest_confusions(run):
    source = source_of(30)
    page = Page(write_page(run, logits_of(source, [(0, 7), (1, 7), (8, 9)]), source).read_text())
    place = page.texts.index("predicted")
    listed = [text for text in page.texts[place:] if text]
    assert listed[2:8] == ["<class 0>", "<class 7>", "2", "<class 4>", "<class 9>", "1"]


def test_report_needs_nothing_from_elsewhere(run):
    source = source_of(3)
    text = write_page(run, logits_of(source, [(0, 1)]), source).read_text()
    assert not re.findall(r"(?:src|href)\s*=\s*[\"'](?!data:|#)", text)
    assert not re.findall(r"url\((?!#)|@import|<script", text)
    assert "<class 0>" not in text, "names are escaped"


def norms_at(*steps):
    return [Norm("net", step, place, f"layer{place}", 10.0**-place + step) for step in steps for place in (1, 2, 3)]


def test_gradient_is_shown_at_the_end_or_over_the_training(run):
    source = source_of(3)
    page = Page(write_page(run, logits_of(source), source, norms_at(6)).read_text())
    (chart,) = [a["aria-label"] for tag, a in page.tags if tag == "svg" and "gradient" in a["aria-label"]]
    assert "at the end 6.10e+00 at the first layer and 6.00e+00 at the last" in chart
    page = Page(write_page(run, logits_of(source), source, norms_at(*range(0, 100, 10))).read_text())
    charts = [a["aria-label"] for tag, a in page.tags if tag == "svg" and "gradient" in a["aria-label"]]
    assert len(charts) == 2 and "by step" in charts[1]
    assert {"step 0", "step 20", "step 40", "step 60", "step 90"} <= set(page.texts)
    assert {"layer1", "layer2", "layer3"} <= set(page.texts)


def test_gates_and_parity_are_shown_where_they_are(run):
    source = source_of(3)
    before = write_page(run, logits_of(source), source).read_text()
    assert "<h2>Gates</h2>" not in before and "<h2>Export</h2>" not in before
    pair = {"status": "compared", "candidate": "onnxruntime", "reference": "Keras", "max_abs_diff": 1.5e-6}
    pair |= {"argmax_agreement": 0.75, "examples": 74}
    (run.path / "export").mkdir()
    skipped = {"status": "skipped", "candidate": "CUDA"}
    parity = {"max_abs_diff": 1.5e-6, "argmax_agreement": 0.75, "comparisons": [pair, skipped]}
    (run.path / "export" / "parity.json").write_text(json.dumps(parity))
    units = np.array([0.25, 0.5])
    layer = LayerGates("layer", units - 2, None, units, 1 - units, units[None], 1 - units[None], units, units, units)
    page = Page(write_page(run, logits_of(source), source, (), Gates("net", ("<a>",), (layer,), "<a>")).read_text())
    for said in ("Gates", "Export", "onnxruntime", "Keras", "1.5e-06", "75.00%", "74"):
        assert said in page.texts, said
    assert "CUDA" not in page.texts
    labels = [attributes["aria-label"] for tag, attributes in page.tags if tag == "svg"]
    assert any("on average T is 0.38 and C is 0.62" in label for label in labels)


def test_speed_is_shown_where_it_was_measured(run):
    source = source_of(3)
    assert "<h2>Speed</h2>" not in write_page(run, logits_of(source), source).read_text()
    speed.write(run.path, [speed.Speed(1, 5.0, 0.5, 9), speed.Speed(32, 40.0, 16.0, 7)])
    page = Page(write_page(run, logits_of(source), source).read_text())
    for said in ("Speed", "5 ms", "0.5 ms", "10.00", "2,000", "40 ms", "16 ms", "2.50"):
        assert said in page.texts, said


def test_the_command_and_the_figures_are_those_of_the_run(run):
    source, recipe = source_of(3), get_recipe("resnet20_digits")
    page = Page(write_page(run, logits_of(source), source).read_text())
    assert {"keras-skip train resnet20_digits", recipe.cost, recipe.result} <= set(page.texts)
    run.record["recipe"] = recipe.changed({"epochs": 3, "source": "/my/toys"}).as_dict()
    run.record["source"] = {"options": {"image_size": [8, 8], "resize": "crop"}}
    page = Page(write_page(run, logits_of(source), source).read_text())
    assert "keras-skip train resnet20_digits --data /my/toys --epochs 3 --image-size 8" in page.texts
    assert not {recipe.cost, recipe.result} & set(page.texts)


def test_no_mistake_is_said(run):
    source = source_of(3)
    assert "<p>None.</p>" in write_page(run, logits_of(source), source).read_text()


def test_equal_runs_give_equal_reports(run):
    source = source_of(3)
    first, second = (write_page(run, logits_of(source, [(0, 1)]), source).read_text() for _ in range(2))
    assert first == second


def test_logits_of_other_data_are_refused_and_the_report_stays(run):
    source = source_of(3)
    before = write_page(run, logits_of(source), source).read_text()
    with pytest.raises(ValueError, match=r"Expected predictions of shape \(6, 3\)\. Received: \(5, 3\)"):
        write_page(run, logits_of(source)[:5], source)
    assert (run.path / "report.html").read_text() == before
