"""The page in a real browser."""

import base64
import io
import os
import struct
import zlib
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import export
from export.images import ImageReader
from tests.browser import browse, needs_browser
from tests.export.models import conv_net, mlp, randomise
from tests.export.photos import noisy_png
from tests.export.server import images, serving

pytest.importorskip("starlette", reason="the extra serve is not installed")
pytestmark = needs_browser


def png(image):
    """A PNG of the pixels."""
    rows = b"".join(b"\0" + row.tobytes() for row in image)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", image.shape[1], image.shape[0], 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


async def save_picture(tab, path):
    picture = await tab.call("Page.captureScreenshot")
    Path(path).write_bytes(base64.b64decode(picture["data"]))


READ_ROWS = "[...document.querySelectorAll('#%s tr')].map(row => [...row.cells].map(cell => cell.textContent))"
READ_CLASSES, READ_CARRIED = READ_ROWS % "classes", READ_ROWS % "carried"
DROP = """
(() => {
  const bytes = Uint8Array.from(atob('%s'), c => c.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], 'image.png', { type: 'image/png' }));
  document.getElementById('drop').dispatchEvent(new DragEvent('drop', { dataTransfer: data, cancelable: true }));
})()
"""


# What the page sends is kept, and sent.
KEEP_BODIES = """
(() => {
  const send = fetch;
  window.sent = [];
  window.fetch = (url, more) => { sent.push(more.body); return send(url, more); };
})()
"""


def rows(artifact, image):
    """What the table is to say of an image."""
    predictor = export.load(artifact)
    scores = predictor(image[None])[0]
    return [[predictor.labels[i], "", f"{scores[i] * 100:.1f} %"] for i in np.argsort(-scores)]


def test_a_sample_is_picked_and_an_image_is_dropped(server, artifact, tmp_path):
    dropped = images(3)[2]

    async def test(tab):
        await tab.wait_for("document.querySelectorAll('#samples button').length > 0")
        first = base64.b64decode(server.get("/models")[1]["models"][0]["samples"][0]["data"])
        await tab.evaluate("document.querySelector('#samples button').click()")
        await tab.wait_for("!document.getElementById('result').hidden")
        assert await tab.evaluate(READ_CLASSES) == rows(artifact, np.frombuffer(first, "uint8").reshape(8, 8, 3))
        latency = await tab.evaluate("document.getElementById('latency').textContent")
        assert latency.startswith("Answered in ") and latency.endswith(" ms")

        await tab.evaluate("document.getElementById('result').hidden = true")
        await tab.evaluate(DROP % base64.b64encode(png(dropped)).decode())
        await tab.wait_for("!document.getElementById('result').hidden")
        assert await tab.evaluate(READ_CLASSES) == rows(artifact, dropped)
        shown = await tab.evaluate(
            "[...document.getElementById('input').getContext('2d').getImageData(0, 0, 8, 8).data]"
        )
        np.testing.assert_array_equal(np.reshape(shown, (8, 8, 4))[..., :3], dropped)
        assert "8 × 8" in await tab.evaluate("document.getElementById('size').textContent")

        assert await tab.evaluate("document.getElementById('carried').hidden")
        await save_picture(tab, os.environ.get("SCREENSHOT", tmp_path / "page.png"))
        asked = [e["params"]["request"]["url"] for e in tab.events if e["method"] == "Network.requestWillBeSent"]
        assert {url.split("/")[2] for url in asked if url.startswith("http")} == {f"127.0.0.1:{server.port}"}
        said = [e["params"]["entry"]["text"] for e in tab.events if e["method"] == "Log.entryAdded"]
        assert said == []

    browse(f"http://127.0.0.1:{server.port}/", tmp_path / "profile", test)


# Wide and high, larger and smaller than the input, and of its width alone.
@pytest.mark.parametrize(
    ("mode", "size"), [("RGB", (40, 20)), ("RGBA", (30, 50)), ("L", (100, 61)), ("RGB", (5, 6)), ("RGB", (8, 33))]
)
def test_an_image_is_resized_as_in_training(mode, size, server, artifact, tmp_path):
    data = noisy_png(mode, size)
    trained_on = ImageReader((8, 8), resize="stretch")(data)

    async def test(tab):
        await tab.wait_for("document.querySelectorAll('#samples button').length > 0")
        await tab.evaluate(DROP % base64.b64encode(data).decode())
        await tab.wait_for("!document.getElementById('result').hidden")
        shown = await tab.evaluate(
            "[...document.getElementById('input').getContext('2d').getImageData(0, 0, 8, 8).data]"
        )
        seen = np.reshape(shown, (8, 8, 4))[..., :3].astype("uint8")
        # Pillow rounds at another place.
        np.testing.assert_allclose(seen.astype(int), np.broadcast_to(trained_on, (8, 8, 3)), atol=1)
        assert await tab.evaluate(READ_CLASSES) == rows(artifact, seen)

    browse(f"http://127.0.0.1:{server.port}/", tmp_path / "profile", test)


def test_a_model_of_grey_images_sees_a_coloured_one_in_grey_and_in_its_own_range(tmp_path):
    inputs = keras.Input((8, 6, 1))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(3, 3)(inputs))
    options = {"preprocessing": export.Preprocessing("uint8", scale=1 / 16), "layout": "nchw", "formats": ["onnx"]}
    export.export(randomise(keras.Model(inputs, x)), tmp_path / "grey", **options)
    data, grey = noisy_png("RGB", (40, 20)), io.BytesIO()
    Image.open(io.BytesIO(data)).convert("L").save(grey, "PNG")

    async def test(tab):
        await tab.wait_for("document.getElementById('model').options.length > 0")
        await tab.evaluate(KEEP_BODIES)
        await tab.evaluate(DROP % base64.b64encode(data).decode())
        await tab.wait_for("!document.getElementById('result').hidden")
        body = await tab.evaluate("sent[0].arrayBuffer().then(buffer => [...new Uint8Array(buffer)])")
        seen = np.reshape(body[-48:], (8, 6))
        np.testing.assert_allclose(
            seen, ImageReader((8, 6), 1, resize="stretch")(grey.getvalue())[..., 0] * (16 / 255), atol=0.6
        )

    with serving(tmp_path / "log", tmp_path / "grey") as server:
        browse(f"http://127.0.0.1:{server.port}/", tmp_path / "profile", test)


SHOWN = "document.getElementById('%s').offsetParent !== null"


def test_images_are_asked_for_only_where_the_model_takes_them(artifact, tmp_path):
    numbers, table = tmp_path / "numbers", tmp_path / "table"
    samples = np.random.default_rng(0).normal(size=(3, 8, 8, 3)).astype("float32")
    labels = [f"class_{place}_" + "of_a_very_long_name" * 4 for place in range(4)]
    export.export(conv_net(name="numbers"), numbers, formats=["onnx"], samples=samples, labels=labels)
    export.export(mlp(), table, formats=["onnx"], name="table")

    async def test(tab):
        await tab.wait_for("document.querySelectorAll('#samples button').length > 0")
        assert await tab.evaluate(SHOWN % "drop") and await tab.evaluate(SHOWN % "file")
        choose = "document.getElementById('model').value = '%s'; document.getElementById('model').onchange()"
        await tab.evaluate(choose % "numbers")
        assert not await tab.evaluate(SHOWN % "drop") and not await tab.evaluate(SHOWN % "file")
        await tab.evaluate("document.querySelector('#samples button').click()")
        await tab.wait_for("!document.getElementById('result').hidden")
        assert len(await tab.evaluate(READ_CLASSES)) == 4
        await tab.call("Emulation.setDeviceMetricsOverride", width=320, height=900, deviceScaleFactor=1, mobile=True)
        assert await tab.evaluate("document.documentElement.scrollWidth") <= 320
        await tab.evaluate(choose % "table")
        assert not await tab.evaluate(SHOWN % "drop") and not await tab.evaluate(SHOWN % "result")
        assert "does not take one image" in await tab.evaluate("document.getElementById('error').textContent")
        assert not await tab.evaluate(SHOWN % "key")

    with serving(tmp_path / "log", f"{'m' * 60}={artifact}", numbers, table) as server:
        browse(f"http://127.0.0.1:{server.port}/", tmp_path / "profile", test)


def test_how_much_each_layer_carried_is_shown_as_bars_and_in_numbers(gated, tmp_path):
    given = export.load(gated)

    async def test(tab):
        await tab.wait_for("document.querySelectorAll('#samples button').length > 0")
        await tab.evaluate("document.querySelector('#samples button').click()")
        await tab.wait_for("!document.getElementById('result').hidden")
        sample = base64.b64decode(server.get("/models")[1]["models"][0]["samples"][0]["data"])
        (carried,) = given(np.frombuffer(sample, "uint8").reshape(1, 8, 8, 3))["carry"]
        expected = [[name, "", f"{value:.2f}"] for name, value in zip(("early", "late"), carried, strict=True)]
        assert await tab.evaluate(READ_CARRIED) == expected
        assert len(await tab.evaluate(READ_CLASSES)) == 3
        measured = await tab.evaluate(
            "[...document.querySelectorAll('#carried i')].map(bar => bar.offsetWidth / bar.parentElement.clientWidth)"
        )
        np.testing.assert_allclose(measured, carried, atol=0.1)
        assert await tab.evaluate("!document.getElementById('carried').hidden")
        assert "carry gate" in await tab.evaluate("document.querySelector('#carried caption').textContent")
        roles = await tab.evaluate("[...document.querySelectorAll('#carried th')].map(heading => heading.scope)")
        assert roles == ["row", "row"]
        await save_picture(tab, tmp_path / "page.png")

    with serving(tmp_path / "log", gated) as server:
        browse(f"http://127.0.0.1:{server.port}/", tmp_path / "profile", test)


def test_a_token_is_asked_for(artifact, tmp_path):
    (tmp_path / "token").write_text("open-sesame")

    async def test(tab):
        await tab.wait_for("!document.getElementById('key').hidden")
        await tab.evaluate("document.getElementById('token').value = 'open-sesame'")
        await tab.evaluate("document.querySelector('#key button').click()")
        await tab.wait_for("document.querySelectorAll('#samples button').length > 0")
        await tab.evaluate("document.querySelector('#samples button').click()")
        await tab.wait_for("!document.getElementById('result').hidden")
        assert await tab.evaluate("document.getElementById('key').hidden")

    with serving(tmp_path / "log", artifact, "--token-file", tmp_path / "token") as server:
        browse(f"http://127.0.0.1:{server.port}/", tmp_path / "profile", test)


def test_an_image_that_is_none_is_told(server, tmp_path):
    async def test(tab):
        await tab.wait_for("document.querySelectorAll('#samples button').length > 0")
        await tab.evaluate(DROP % base64.b64encode(b"no image").decode())
        await tab.wait_for("document.getElementById('error').textContent !== ''")
        assert await tab.evaluate("document.getElementById('result').hidden")

    browse(f"http://127.0.0.1:{server.port}/", tmp_path / "profile", test)
