"""Writes a folder for any web server, whose page runs the network in the browser with onnxruntime-web.

web/index.html      the page, which also checks the recorded samples
web/model.onnx      the ONNX file of the artifact
web/about.json      the description of the network
web/samples.bin     the recorded samples, if there are any
web/runtime/        onnxruntime-web and its licence
"""

import json
import shutil
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ExportError, VerificationError
from ..page import assemble
from ..page.description import describe_for_page
from ..proof.recording import INPUT, OUTPUT, read_recorded
from ..storage.arrays import Batch
from ..storage.manifest import ONNX, SAMPLES, hash_file, read_manifest
from ..storage.onnx_files import data_path
from . import npm
from .chromium import compute_in_page, find_chromium
from .exchange import pack
from .target import Target, Unavailable

_ABOUT, _SAMPLES, _RUNTIME = "about.json", "samples.bin", "runtime"
_LICENCES = ("LICENSE", "ThirdPartyNotices.txt")


def _require() -> str:
    npm.find_runtime()
    return f"{npm.PACKAGE} {npm.VERSION}"


def _build(artifact: Path, path: Path) -> None:
    import onnxruntime

    if data_path(artifact / ONNX).exists():
        raise ExportError("Expected at most 2 GB of weights for the target web. Received: weights in a second file")
    manifest, folder = read_manifest(artifact), path.parent
    runtime = folder / _RUNTIME
    runtime.mkdir()
    source = npm.find_runtime()
    for name in npm.FILES:
        shutil.copyfile(source / name, runtime / name)
    for name in _LICENCES:
        # npm's package has no licence file; the Python package is built from the same source.
        shutil.copyfile(Path(onnxruntime.__file__).with_name(name), runtime / name)
    path.write_text(_assemble_page(), encoding="utf-8")
    shutil.copyfile(artifact / ONNX, folder / ONNX)
    for name, content in _pack_files(artifact, manifest).items():
        (folder / name).write_bytes(content)


def _pack_files(artifact: Path, manifest: Mapping[str, Any]) -> dict[str, bytes]:
    """Returns the contents of about.json and samples.bin, by name."""
    about, samples = _describe(artifact, manifest)
    files = {_ABOUT: json.dumps(about, ensure_ascii=False, allow_nan=False).encode()}
    return files | ({_SAMPLES: pack(samples)} if samples else {})


def _assemble_page() -> str:
    return assemble(files(__package__).joinpath("web.html").read_text(encoding="utf-8"))


def _describe(artifact: Path, manifest: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Batch]]:
    """Returns the description of the network, and the recorded samples with Keras's answers."""
    inputs, expected, tolerance = read_recorded(artifact, manifest)
    about = describe_for_page(manifest, inputs if SAMPLES in manifest["files"] else {})
    about |= {name: manifest.get(name) for name in ("inputs", "outputs", "task", "target_names")}
    about |= {"reader": manifest.get("image"), "runtime": f"{npm.PACKAGE} {npm.VERSION}", "samples_file": None}
    if not expected:
        return about, {}
    about["samples_file"] = _SAMPLES
    floor = tolerance.get("floor", {})
    about["allowed"] = {
        y["name"]: (tolerance["atol"] + np.ravel(floor.get(y["name"], 0.0)).astype("float64")).tolist()
        for y in manifest["outputs"]
    }
    packed = {
        name: {f"{INPUT}{key}": x for key, x in batch.items()}
        | {f"{OUTPUT}{key}": y for key, y in expected[name].items()}
        for name, batch in inputs.items()
    }
    return about, packed


def _run(path: Path, batches: Mapping[str, Batch]) -> dict[str, Batch]:
    """Runs the page on batches. It must be the page that this version writes: another could contain any script."""
    find_chromium()
    known = path.read_bytes() == _assemble_page().encode() and npm.is_complete(path.parent / _RUNTIME)
    if not known:
        raise Unavailable("The page is not the one that this version of keras-skip writes, so no browser opened it.")
    artifact = path.parents[1]
    wanted = _pack_files(artifact, read_manifest(artifact))
    same = [hash_file(path.parent / ONNX) == hash_file(artifact / ONNX)]
    same += [(path.parent / name).is_file() and (path.parent / name).read_bytes() == wanted[name] for name in wanted]
    if not all(same):
        raise VerificationError(
            f"Expected {path.parent} to have the network and the samples of the artifact. Received: others"
        )
    return compute_in_page(path.parent, batches)


TARGET = Target("web", "onnxruntime-web in Chromium", "web/index.html", "onnx", _require, _build, _run)
