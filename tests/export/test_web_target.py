"""The target web: a folder whose page runs a trained network in a real browser, with nothing from elsewhere."""

import base64
import json
import os
import shutil
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import keras
import numpy as np
import pytest

import export
import zoo
from export.images import INTERPOLATIONS, ImageReader
from export.storage.manifest import write_manifest
from export.targets import chromium, npm
from export.targets.exchange import pack, unpack
from export.targets.target import Unavailable
from tests.browser import browse, needs_browser
from tests.export.models import mlp
from tests.export.photos import noisy_png

TITLE = "onnxruntime-web in Chromium"
LABELS = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
READER = ImageReader((32, 32), shorter=36)
SEEN = "[...document.getElementById('input').getContext('2d').getImageData(0, 0, 32, 32).data]"
CLASSES = (
    "[...document.querySelectorAll('#classes tr')].map(row => [row.cells[0].textContent, row.cells[2].textContent])"
)
TEXT = "document.getElementById('%s').textContent"
DROP = """
(() => {
  document.getElementById('result').hidden = true;
  const data = new DataTransfer();
  data.items.add(new File([Uint8Array.from(atob('%s'), c => c.charCodeAt(0))], 'image.png', { type: 'image/png' }));
  document.getElementById('drop').dispatchEvent(new DragEvent('drop', { dataTransfer: data, cancelable: true }));
})()
"""
LOADED = "document.getElementById('status')?.textContent.startsWith('Runs in this browser')"
LATER = 2_000_000_000  # seconds since 1970
ANSWERED = "!document.getElementById('result').hidden"


@pytest.fixture(scope="module", autouse=True)
def runtime():
    try:
        return npm.find_runtime()
    except Unavailable as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def bundled(runtime, tmp_path_factory):
    samples = np.random.default_rng(3).integers(0, 256, (3, 32, 32, 3), dtype="uint8")
    return export.export(
        zoo.load("resnet20", weights="cifar10"),
        tmp_path_factory.mktemp("web") / "resnet20",
        targets="web",
        preprocessing=export.Preprocessing("uint8", scale=1 / 255),
        activation="softmax",
        labels=LABELS,
        image=READER,
        samples=samples,
        formats="onnx",
        batch_sizes=(1, 2),
        device="cpu",
    )


@pytest.fixture
def copy(bundled, tmp_path):
    return Path(shutil.copytree(bundled.path, tmp_path / "copy"))


@contextmanager
def delivered(folder):
    """A web server of no special kind that delivers a folder."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


async def seen_and_said(tab, data):
    """What the page makes of a dropped image: the pixels and the classes."""
    await tab.evaluate(DROP % base64.b64encode(data).decode())
    await tab.wait_for(ANSWERED)
    seen = np.reshape(await tab.evaluate(SEEN), (32, 32, 4))[..., :3].astype("uint8")
    return seen, await tab.evaluate(CLASSES)


@needs_browser
def test_the_page_alone_in_a_folder_gives_the_answers_of_keras(bundled, tmp_path):
    folder = Path(shutil.copytree(bundled.path / "web", tmp_path / "site"))
    network, data = zoo.load("resnet20", weights="cifar10"), noisy_png("RGB", (70, 50))

    async def test(tab):
        await tab.wait_for(LOADED)
        seen, said = await seen_and_said(tab, data)
        np.testing.assert_allclose(seen.astype(int), READER(data), atol=1)
        logits = network(seen[None].astype("float32") / 255)
        (expected,) = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
        order = np.argsort(-expected)
        assert [label for label, _ in said] == [LABELS[i] for i in order]
        shares = [float(share.removesuffix(" %")) for _, share in said]
        np.testing.assert_allclose(shares, 100 * expected[order], atol=0.051)

        await tab.evaluate("document.getElementById('check').click()")
        await tab.wait_for(f"{TEXT % 'checked'}.startsWith('Agrees')")
        assert "Agrees with Keras on 6 recorded examples" in await tab.evaluate(TEXT % "checked")
        assert await tab.evaluate("document.querySelectorAll('#samples button').length") == 3
        if picture := os.environ.get("SCREENSHOT"):
            shot = await tab.call("Page.captureScreenshot")
            Path(picture).write_bytes(base64.b64decode(shot["data"]))
        asked = [e["params"]["request"]["url"] for e in tab.events if e["method"] == "Network.requestWillBeSent"]
        assert all(each.startswith((url, "data:", "blob:")) for each in asked)
        assert [e["params"]["entry"]["text"] for e in tab.events if e["method"] == "Log.entryAdded"] == []
        assert not await tab.evaluate("self.crossOriginIsolated")

    with delivered(folder) as url:
        browse(url, tmp_path / "profile", test)


READERS = [
    *(ImageReader((32, 32), interpolation=filter) for filter in INTERPOLATIONS),
    ImageReader((32, 32), resize="stretch"),
    ImageReader((20, 32), shorter=33),
]


@needs_browser
def test_the_page_reads_images_as_pillow_does(bundled, tmp_path):
    """In every way that an artifact can record, of images that are wider, higher, smaller, grey or transparent."""
    folder = Path(shutil.copytree(bundled.path / "web", tmp_path / "site"))
    about = json.loads((folder / "about.json").read_text())
    pictures = [noisy_png("RGB", (70, 50)), noisy_png("RGBA", (31, 77)), noisy_png("L", (9, 15))]

    async def test(tab):
        for number, reader in enumerate(READERS):
            (folder / "about.json").write_text(json.dumps(about | {"reader": reader.to_dict()}))
            # A file that changes twice in a second is the same to the browser, which asks by the time of the change.
            os.utime(folder / "about.json", (LATER + number, LATER + number))
            await tab.call("Page.navigate", url=f"{url}?{number}")
            await tab.wait_for(f"location.search === '?{number}' && {LOADED}")
            for data in pictures:
                height, width = reader.size
                if (height, width) != (32, 32):
                    # The network refuses other sizes, but not before the page has read the image.
                    await tab.evaluate("document.getElementById('error').textContent = ''")
                    await tab.evaluate(DROP % base64.b64encode(data).decode())
                    await tab.wait_for(f"{TEXT % 'error'} !== ''")
                    assert "index: 1 Got: 20 Expected: 32" in await tab.evaluate(TEXT % "error")
                    continue
                seen, _ = await seen_and_said(tab, data)
                expected = np.broadcast_to(reader(data), (32, 32, 3)).astype(int)
                # Pillow resizes rows or columns first, which shows where a filter overshoots black or white.
                differences = np.abs(seen.astype(int) - expected)
                assert np.mean(differences > 1) < 0.01 and differences.max() <= 8, reader

    with delivered(folder) as url:
        browse(url, tmp_path / "profile", test)


@needs_browser
def test_the_command_and_verify_both_prove_the_page(bundled):
    (pair,) = [pair for pair in bundled.parity["comparisons"] if pair["candidate"] == TITLE]
    assert (pair["status"], pair["examples"], pair["decisions"] > 0) == ("compared", 6, True)
    assert 0 < pair["max_abs_diff"] < 1e-5
    found = export.verify(bundled.path, device="cpu")
    pairs = {(pair["reference"], pair["candidate"]) for pair in found["comparisons"] if pair["status"] == "compared"}
    assert {("Keras, recorded at export", TITLE), ("onnxruntime, not optimised", TITLE)} <= pairs


def test_the_folder_has_everything_and_its_licence(bundled):
    folder = bundled.path / "web"
    assert bundled.metadata["targets"] == {"web": {"runtime": f"onnxruntime-web {npm.VERSION}", "batch": None}}
    page = (folder / "index.html").read_text()
    assert "http://" not in page and "https://" not in page and "{{" not in page
    assert (folder / "model.onnx").read_bytes() == bundled.onnx.read_bytes()
    assert (folder / "runtime" / "LICENSE").read_text().startswith("MIT License")
    recorded = unpack((folder / "samples.bin").read_bytes())
    with np.load(bundled.path / "samples.npz") as samples:
        for number, name in enumerate(samples["names"]):
            for key in ("input/image", "output/probabilities"):
                np.testing.assert_array_equal(recorded[str(name)][key], samples[f"{number}/{key}"])


@needs_browser
def test_the_page_says_when_its_answers_are_not_keras_s(bundled, tmp_path):
    folder = Path(shutil.copytree(bundled.path / "web", tmp_path / "site"))
    recorded = unpack((folder / "samples.bin").read_bytes())
    first = next(iter(recorded.values()))
    first["output/probabilities"] = first["output/probabilities"] + np.float32(1e-3)
    (folder / "samples.bin").write_bytes(pack(recorded))

    async def test(tab):
        await tab.wait_for(LOADED)
        await tab.evaluate("document.getElementById('check').click()")
        await tab.wait_for(f"{TEXT % 'checked'}.includes('differ')")
        assert (await tab.evaluate(TEXT % "checked")).startswith("10 numbers differ from Keras's")

    with delivered(folder) as url:
        browse(url, tmp_path / "profile", test)


def sign(folder):
    """Signs a changed artifact, as its author could."""
    manifest = json.loads((folder / "artifact.json").read_text())
    write_manifest(folder, {k: v for k, v in manifest.items() if k not in ("format", "files", "sha256")})


def test_verify_opens_no_page_that_someone_else_wrote(copy, monkeypatch):
    monkeypatch.setattr("export.targets.web.find_chromium", lambda: "chromium")
    page = copy / "web" / "index.html"
    page.write_text(page.read_text().replace("start().catch(fail);", "steal();"))
    sign(copy)
    (absent,) = [pair for pair in export.verify(copy, device="cpu")["comparisons"] if pair["candidate"] == TITLE]
    assert "so no browser opened it" in absent["reason"]


@pytest.mark.parametrize("file", ["model.onnx", "about.json", "samples.bin"])
def test_verify_finds_what_the_page_has_of_another_network(file, copy, monkeypatch):
    monkeypatch.setattr("export.targets.web.find_chromium", lambda: "chromium")
    with (copy / "web" / file).open("ab") as changed:
        changed.write(b" ")
    sign(copy)
    with pytest.raises(export.VerificationError, match="to have the network and the samples of the artifact"):
        export.verify(copy, device="cpu")


def test_without_chromium_the_page_is_written_and_reported_as_unproven(monkeypatch, tmp_path):
    monkeypatch.setattr(chromium, "NAMES", ())
    monkeypatch.delenv("CHROMIUM", raising=False)
    made = export.export(mlp(), tmp_path / "mlp", targets="web", formats="onnx", batch_sizes=(1, 2), device="cpu")
    (pair,) = [pair for pair in made.parity["comparisons"] if pair["candidate"] == TITLE]
    assert pair["status"] == "not available" and "No Chromium was found" in pair["reason"]
    assert (made.path / "web" / "index.html").is_file()


@needs_browser
def test_a_chromium_that_does_not_start_proves_nothing(monkeypatch, tmp_path):
    broken = tmp_path / "chromium"
    broken.write_text("#!/bin/sh\necho cannot open display >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CHROMIUM", str(broken))
    with pytest.raises(Unavailable, match=r"ended with exit code 3 before the page had answered. It said: cannot open"):
        chromium.compute_in_page(tmp_path, {"one": {"x": np.zeros((1, 2))}})


@needs_browser
def test_a_page_that_cannot_compute_says_why(copy):
    (copy / "web" / "model.onnx").write_bytes(b"no model")
    with pytest.raises(export.ExportError, match="The page cannot compute: "):
        chromium.compute_in_page(copy / "web", {"one": {"image": np.zeros((1, 32, 32, 3), "uint8")}})


@needs_browser
def test_inputs_other_than_images_are_typed_as_json(tmp_path):
    one, two = keras.Input((3,), name="one"), keras.Input((2,), dtype="int64", name="two")
    embedded = keras.layers.Flatten()(keras.layers.Embedding(5, 4)(two))
    model = keras.Model([one, two], keras.layers.Dense(2)(keras.layers.Concatenate()([one, embedded])))
    options = {"formats": "onnx", "batch_sizes": (1, 2), "device": "cpu", "task": "regression"}
    made = export.export(model, tmp_path / "two", targets="web", target_names=["low", "high"], **options)
    assert [pair["status"] for pair in made.parity["comparisons"] if pair["candidate"] == TITLE] == ["compared"]
    given = {"one": [[0.5, -1, 2]], "two": [[4, 1]]}
    expected = model({"one": np.float32(given["one"]), "two": np.int64(given["two"])})

    async def test(tab):
        await tab.wait_for("!document.getElementById('numbers').hidden")
        first = json.loads(await tab.evaluate("document.getElementById('given').value"))
        assert sorted(first) == ["one", "two"] and np.shape(first["one"]) == (1, 3)
        await tab.evaluate(f"document.getElementById('given').value = {json.dumps(json.dumps(given))}")
        await tab.evaluate("document.getElementById('compute').click()")
        await tab.wait_for("document.getElementById('answers').textContent !== ''")
        said = await tab.evaluate(TEXT % "answers")
        low, high = (float(part.split()[-1]) for part in said.split(", "))
        np.testing.assert_allclose([[low, high]], expected, rtol=1e-3)
        assert "low" in said and "high" in said
        missing = json.dumps({**given, "one": [[None, -1, 2]]})
        await tab.evaluate(f"document.getElementById('given').value = {json.dumps(missing)}")
        await tab.evaluate("document.getElementById('compute').click()")
        await tab.wait_for("document.getElementById('answers').textContent.includes('low NaN')")
        await tab.evaluate("document.getElementById('given').value = '{}'")
        await tab.evaluate("document.getElementById('compute').click()")
        await tab.wait_for(f"{TEXT % 'error'} !== ''")
        assert await tab.evaluate(TEXT % "error") == "Expected the input one."

    with delivered(made.path / "web") as url:
        browse(url, tmp_path / "profile", test)
