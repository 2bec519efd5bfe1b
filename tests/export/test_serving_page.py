"""The page for a browser, what it is told, and the how-to."""

import base64
import re
from pathlib import Path

import numpy as np
import pytest

import export
from export.page import assemble
from tests.export.server import ROOT, content, images, serving

pytest.importorskip("starlette", reason="the extra serve is not installed")

PAGE = assemble((Path(export.__file__).parent / "serving" / "page.html").read_text(encoding="utf-8"))


def test_the_page_is_served_and_may_load_nothing_from_elsewhere(server):
    status, headers, body = server.request("GET", "/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert body.decode() == PAGE
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none';") and "http" not in policy
    assert not re.search(r"https?://|src=|@import|url\(", PAGE)


def test_the_page_is_told_of_every_model_and_its_samples(server):
    status, about = server.get("/models")
    assert (status, [model["name"] for model in about["models"]]) == (200, ["classifier", "second"])
    model = about["models"][0]
    assert (model["labels"], model["activation"]) == (["ant", "bee", "cat", "dog"], "softmax")
    assert model["image"] == {
        "input": "input",
        "datatype": "UINT8",
        "height": 8,
        "width": 8,
        "channels": 3,
        "layout": "nhwc",
        "white": 255,
    }
    assert 1 <= len(model["samples"]) <= 12
    real = {image.tobytes() for image in images(50)}
    for sample in model["samples"]:
        assert sample["shape"] == [8, 8, 3]
        assert base64.b64decode(sample["data"]) in real


def test_the_page_is_told_which_output_has_the_classes_and_which_the_gates(server, gated, tmp_path):
    model = server.get("/models")[1]["models"][0]
    assert (model["output"], model["gates"]) == ("probabilities", None)
    with serving(tmp_path / "log", gated) as other:
        (model,) = other.get("/models")[1]["models"]
        assert (model["output"], model["gates"]) == ("probabilities", {"output": "carry", "layers": ["early", "late"]})
        status, answer = other.infer(content(images(2)), "highway")
    assert status == 200
    outputs = {y["name"]: np.reshape(y["data"], y["shape"]) for y in answer["outputs"]}
    np.testing.assert_allclose(outputs["carry"], export.load(gated)(images(2))["carry"], atol=1e-6)


@pytest.mark.parametrize(
    ("preprocessing", "white"),
    [(None, 255), ({"scale": 1.0}, 255), ({"scale": 1 / 255}, 255), ({"scale": 1 / 16}, 16), ({"scale": 1e-4}, 255)],
)
def test_the_page_knows_what_is_white(preprocessing, white):
    from export.page.description import _find_white

    assert _find_white(preprocessing) == white


def test_white_is_not_darker_than_an_image():
    from export.page.description import _find_white

    dark, bright = np.full((8, 8, 3), 120, "uint8"), np.full((8, 8, 3), 240, "uint8")
    assert _find_white({"scale": 1 / 127.5}, [dark, bright]) == 255
    assert _find_white({"scale": 1 / 16}, [dark // 8]) == 16


def test_what_the_page_sends_is_answered(server):
    # As the page does: JSON first, the pixels behind it, an answer in JSON.
    header = b'{"inputs":[{"name":"input","shape":[1,8,8,3],"datatype":"UINT8","parameters":{"binary_data_size":192}}]}'
    status, answer = server.infer(header + images(1).tobytes(), **{"Inference-Header-Content-Length": str(len(header))})
    assert status == 200
    assert np.sum(answer["outputs"][0]["data"]) == pytest.approx(1, abs=1e-5)


def test_the_how_to_works(artifact, tmp_path, monkeypatch, capsys):
    pytest.importorskip("tritonclient.http", reason="tritonclient is not installed", exc_type=ImportError)
    text = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL))
    assert "tritonclient" in code and "deploy" in code
    (served,) = re.findall(r"^keras-skip serve (\S+) --port 8000", text, flags=re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    with serving(tmp_path / "log", served.replace("runs/demo/export", str(artifact))) as server:
        exec(code.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}").replace("runs/demo/export", str(artifact)), {})
    said = capsys.readouterr().out
    assert "mine [2, 4]" in said and "{'name': 'input', 'datatype': 'UINT8', 'shape': [-1, 8, 8, 3]}" in said
    assert (tmp_path / "models" / "digits" / "config.pbtxt").is_file()
    assert (tmp_path / "models" / "digits.json").is_file()
