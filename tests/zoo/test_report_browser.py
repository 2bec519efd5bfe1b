"""The report in a real browser: wide and narrow, light and dark."""

import asyncio
import base64
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import zoo
import zoo.analysis.gradients
from tests.browser import browse, needs_browser
from zoo.analysis import speed
from zoo.reports.page import write_page

WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
NAMELESS = """
[...document.querySelectorAll('img, svg')]
  .filter(one => !(one.getAttribute('alt') || one.getAttribute('aria-label') || one.closest('svg[aria-label]')))
  .length
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A highway network with a recorded gradient, of which the report has every section but the export's."""
    folder = tmp_path_factory.mktemp("report") / "run"
    return zoo.train("highway_mlp_digits", out=folder, epochs=2, batch_size=256, gradients=3)


@needs_browser
def test_report_fits_every_screen_and_names_every_picture(run, tmp_path):
    pictures = Path(os.environ.get("SCREENSHOTS", tmp_path))

    async def test(tab):
        for width in (1280, 390):
            for scheme in ("light", "dark"):
                await tab.call(
                    "Emulation.setDeviceMetricsOverride",
                    width=width,
                    height=900,
                    deviceScaleFactor=1,
                    mobile=width < 500,
                )
                feature = {"name": "prefers-color-scheme", "value": scheme}
                await tab.call("Emulation.setEmulatedMedia", features=[feature])
                await asyncio.sleep(0.1)
                assert await tab.evaluate("innerWidth") == width
                assert await tab.evaluate(WIDER) <= 0
                picture = await tab.call("Page.captureScreenshot", captureBeyondViewport=True, format="png")
                (pictures / f"report-{width}-{scheme}.png").write_bytes(base64.b64decode(picture["data"]))
        assert await tab.evaluate(NAMELESS) == 0
        assert await tab.evaluate("document.querySelectorAll('svg').length") >= 7
        colours = "getComputedStyle(document.body)[%r]"
        assert await tab.evaluate(colours % "backgroundColor") != await tab.evaluate(colours % "color")
        said = [
            event["params"] for event in tab.events if event["method"] in ("Log.entryAdded", "Runtime.consoleAPICalled")
        ]
        assert said == []
        asked = [e["params"]["request"]["url"] for e in tab.events if e["method"] == "Network.requestWillBeSent"]
        assert {url.partition(":")[0] for url in asked} <= {"file", "data"}
        printed = await tab.call("Page.printToPDF", printBackground=True)
        assert base64.b64decode(printed["data"]).startswith(b"%PDF")
        (pictures / "report.pdf").write_bytes(base64.b64decode(printed["data"]))

    browse((run.path / "report.html").as_uri(), tmp_path / "profile", test)


@needs_browser
def test_long_names_do_not_make_the_report_wider_than_a_telephone(run, tmp_path):
    names = tuple(f"class_{place}_" + "of_a_very_long_name" * 3 for place in range(10))
    source = replace(zoo.load_source("digits"), name="/data" + "/photographs_of_2026" * 10, class_names=names)
    logits = np.random.default_rng(0).normal(size=(len(source.test_inputs), 10))
    shutil.copytree(run.path, tmp_path / "run")
    pair = {"status": "compared", "candidate": "onnxruntime, not optimised", "reference": "Keras", "examples": 32}
    pair |= {"max_abs_diff": 1e-7, "argmax_agreement": 1.0}
    (tmp_path / "run" / "export").mkdir()
    (tmp_path / "run" / "export" / "parity.json").write_text(json.dumps(pair | {"comparisons": [pair]}))
    speed.write(tmp_path / "run", [speed.Speed(32, 40.0, 16.0, 7)])
    page = write_page(zoo.open_run(tmp_path / "run"), logits, source)

    async def test(tab):
        assert await tab.evaluate("document.querySelectorAll('.mistakes figcaption').length") == 12
        for width in (390, 320):
            await tab.call(
                "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=True
            )
            await asyncio.sleep(0.1)
            assert await tab.evaluate("document.documentElement.clientWidth") == width
            assert await tab.evaluate(WIDER) <= 0

    browse(page.as_uri(), tmp_path / "profile", test)


def test_report_is_made_of_the_run(run):
    steps = sorted({norm.step for norm in zoo.analysis.gradients.read(run.path / "gradients.csv")})
    assert steps == [0, 3, 6, 9, 12]
    text = (run.path / "report.html").read_text()
    for section in ("Curves", "Worst mistakes", "Gradients", "Gates", "Recipe"):
        assert f"<h2>{section}</h2>" in text
    assert "step 12" in text
    assert zoo.write_report(run.path).read_text() == text
