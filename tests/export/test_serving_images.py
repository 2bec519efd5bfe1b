"""Image files that clients send: the server decodes them as the artifact records, or refuses them in a sentence."""

import base64
import concurrent.futures
import io
import json

import numpy as np
import pytest
from PIL import Image

import export
from tests.browser import browse, needs_browser
from tests.export.models import highway_net
from tests.export.photos import LABELS, keras_says, make, photo, seen, upright
from tests.export.server import content, images, output, serving

pytest.importorskip("starlette", reason="the extra serve is not installed")

CLASSIFY = "/v2/models/photos/classify"
JPEG = {"Content-Type": "image/jpeg"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An artifact that reads photos, one that does not, one with gates, and one that takes any size."""
    folder = tmp_path_factory.mktemp("served")
    make(folder / "photos", image=export.ImageReader((8, 8)))
    make(folder / "arrays", name="arrays")
    options = {"preprocessing": export.Preprocessing("uint8", scale=1 / 255), "activation": "softmax"}
    options |= {"image": export.ImageReader((8, 8)), "formats": ["onnx"], "samples": images(4)}
    export.export(highway_net(name="gated"), folder / "gated", gates=True, **options)
    return folder


@pytest.fixture(scope="module")
def server(folder):
    with serving(
        folder / "log", folder / "photos", folder / "arrays", folder / "gated", "--max-body", 200_000
    ) as server:
        yield server


def classify(server, data, path=CLASSIFY, headers=JPEG):
    status, received, body = server.request("POST", path, data, headers)
    assert received["content-type"] == "application/json"
    return status, json.loads(body)


@pytest.fixture(scope="module", name="photo")
def photo_():
    return photo()


def test_a_photo_gets_the_classes_that_keras_names(server, folder, photo):
    expected = keras_says([seen(photo)])[0]
    status, answer = classify(server, photo)
    assert (status, answer["model_name"]) == (200, "photos")
    order = np.argsort(-expected)
    assert [each["label"] for each in answer["classes"]] == [LABELS[i] for i in order]
    found = [each["probability"] for each in answer["classes"]]
    np.testing.assert_allclose(found, expected[order], atol=1e-6)
    ((label, probability),) = export.load(folder / "photos").classify(photo)
    assert answer["classes"][0] == {"label": label, "probability": probability}
    infer = server.infer(content(np.stack([seen(photo)])), "photos")
    np.testing.assert_allclose(np.sort(output(infer[1])[0])[::-1], found, atol=1e-7)


def test_parameters_and_versions(server, photo):
    status, answer = classify(server, photo, "/v2/models/photos/versions/1/classify?top=2&pixels=true")
    assert (status, len(answer["classes"])) == (200, 2)
    pixels = np.frombuffer(base64.b64decode(answer["pixels"]["data"]), "uint8").reshape(answer["pixels"]["shape"])
    np.testing.assert_array_equal(pixels, seen(photo))
    for top in ("0", "-1", "x", "1" * 40):
        status, answer = classify(server, photo, f"{CLASSIFY}?top={top}")
        assert status == 400 and answer["error"].startswith("Expected top to be a number of classes")


def test_gates_come_with_the_names_of_their_layers(server, folder, photo):
    status, answer = classify(server, photo, "/v2/models/gated/classify")
    (carried,) = export.load(folder / "gated")(seen(photo)[None])["carry"]
    assert [each["layer"] for each in answer["gates"]] == ["early", "late"]
    assert [each["carry"] for each in answer["gates"]] == pytest.approx(carried.tolist(), abs=1e-6)
    assert [each["label"] for each in answer["classes"]] != [] and status == 200


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


BAD = {
    "empty": (b"", JPEG, 400, "Received: empty file"),
    "no image": (b"hello", JPEG, 400, "Received: not an image, or in an unknown format"),
    "too many pixels": (png(np.zeros((9000, 8000), bool)), {"Content-Type": "image/png"}, 400, "8000x9000 pixels"),
    "a form": (b"--x", {"Content-Type": "multipart/form-data; boundary=x"}, 415, "content type, such as image/jpeg"),
    "no type": (b"hello", {}, 415, "Received: no content type"),
    "compressed": (b"hello", {**JPEG, "Content-Encoding": "gzip"}, 415, "a body that is not compressed"),
    "too large": (bytes(210_000), JPEG, 413, "a body of at most 200000 bytes"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_read_is_refused_in_a_sentence(kind, server):
    data, headers, wanted, said = BAD[kind]
    status, answer = classify(server, data, headers=headers)
    assert status == wanted and answer["error"].startswith("Expected ") and said in answer["error"], answer
    assert server.is_healthy()


def test_a_damaged_photo_is_refused(server, photo):
    status, answer = classify(server, photo[:3000])
    assert status == 400 and "truncated" in answer["error"]


def test_a_model_without_a_record_takes_only_arrays(server, photo):
    status, answer = classify(server, photo, "/v2/models/arrays/classify")
    assert status == 400 and answer["error"].endswith("Received: arrays, which takes arrays at /infer")
    assert classify(server, photo, "/v2/models/none/classify")[0] == 404
    assert server.request("GET", CLASSIFY)[0] == 405


def test_photos_share_the_batches_and_the_metrics_of_the_model(server, photo):
    expected = keras_says([seen(photo)])[0].max()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: classify(server, photo), range(24)))
    assert {status for status, _ in answers} == {200}
    np.testing.assert_allclose([a["classes"][0]["probability"] for _, a in answers], expected, atol=1e-6)
    text = server.request("GET", "/metrics")[2].decode()
    assert 'keras_skip_requests_total{model="photos",status="200"}' in text


def test_an_image_of_any_size_may_not_be_larger_than_a_body(tmp_path):
    from tests.export.models import RAW, conv_net

    options = {"preprocessing": RAW, "activation": "softmax", "image": export.ImageReader(), "formats": ["onnx"]}
    export.export(conv_net(None, name="any"), tmp_path / "any", **options)
    small, large = png(np.zeros((90, 100, 3), "uint8")), png(np.zeros((100, 110, 3), "uint8"))
    with serving(tmp_path / "log", tmp_path / "any", "--max-body", 30_000) as server:
        assert classify(server, small, "/v2/models/any/classify")[0] == 200
        status, answer = classify(server, large, "/v2/models/any/classify")
    assert status == 413 and answer["error"].endswith("Received: 33000")


def test_a_server_without_pillow_says_what_it_needs(folder, photo, tmp_path):
    with serving(tmp_path / "log", folder / "photos", missing=("PIL",)) as server:
        status, answer = classify(server, photo)
        assert status == 501 and answer["error"].startswith("Reading images needs Pillow: pip install pillow")
        assert server.infer(content(images(1)), "photos")[0] == 200


DROP = """
(() => {
  const bytes = Uint8Array.from(atob('%s'), c => c.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], 'photo.jpg', { type: 'image/jpeg' }));
  document.getElementById('drop').dispatchEvent(new DragEvent('drop', { dataTransfer: data, cancelable: true }));
})()
"""
# Keeps what the server answers.
KEEP = """
(() => {
  const send = fetch;
  window.answers = [];
  window.fetch = async (...given) => {
    const response = await send(...given);
    answers.push(await response.clone().json());
    return response;
  };
})()
"""


@needs_browser
def test_the_page_shows_what_keras_says_of_a_photo_and_what_the_network_saw(server, photo, tmp_path):
    expected = keras_says([seen(photo)])[0]

    async def test(tab):
        await tab.wait_for("document.getElementById('model').options.length > 0")
        await tab.evaluate(KEEP)
        await tab.evaluate(DROP % base64.b64encode(photo).decode())
        await tab.wait_for("!document.getElementById('result').hidden")
        (answer,) = await tab.evaluate("answers")
        found = [each["probability"] for each in answer["classes"]]
        np.testing.assert_allclose(found, np.sort(expected)[::-1], atol=1e-6)
        shown = await tab.evaluate(
            "[...document.querySelectorAll('#classes tr')].map(row => [...row.cells].map(cell => cell.textContent))"
        )
        assert shown == [[LABELS[i], "", f"{expected[i] * 100:.1f} %"] for i in np.argsort(-expected)]
        drawn = await tab.evaluate(
            "[...document.getElementById('input').getContext('2d').getImageData(0, 0, 8, 8).data]"
        )
        np.testing.assert_array_equal(np.reshape(drawn, (8, 8, 4))[..., :3], seen(photo))
        await tab.evaluate(DROP % base64.b64encode(photo[:3000]).decode())
        await tab.wait_for("document.getElementById('error').textContent !== ''")
        assert "truncated" in await tab.evaluate("document.getElementById('error').textContent")

    browse(f"http://127.0.0.1:{server.port}/", tmp_path / "profile", test)


def test_the_photo_of_these_tests_is_not_square_and_turned(photo):
    assert Image.open(io.BytesIO(photo)).size == (427, 640) and upright(photo).size == (640, 427)


def test_rows_sent_to_a_model_of_images_are_told_where_it_takes_what(server):
    status, answer = classify(server, b"{}", "/v2/models/photos/predict", {"Content-Type": "application/json"})
    assert status == 400 and "Received: photos, which takes image files at /classify" in answer["error"]
