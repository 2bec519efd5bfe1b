"""Harmful and broken files, each a real one, are refused with a sentence by whatever reads them."""

import io
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest

import export
from export.storage.manifest import write_manifest
from tests.export.models import conv_net


def reseal(folder: Path) -> None:
    """Makes every hash fit again: whoever writes a harmful file can write its hash too."""
    about = json.loads((folder / "artifact.json").read_text())
    write_manifest(folder, {k: v for k, v in about.items() if k not in ("format", "files", "sha256")})


def refused(path: Path, message: str, readers=(export.verify, export.load, export.inspect)) -> None:
    for read in readers:
        with pytest.raises((export.VerificationError, export.ExportError), match=message) as caught:
            read(path)
        assert "\n" not in str(caught.value).strip()


def with_weights_at(folder: Path, location: str) -> None:
    model = onnx.load(folder / "model.onnx")
    tensor = max(model.graph.initializer, key=lambda t: len(t.raw_data))
    size = len(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(size))):
        tensor.external_data.add(key=key, value=value)
    (folder / "model.onnx").write_bytes(model.SerializeToString())


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "saved_model/../../secret", "..", "..\\secret"])
def test_weights_elsewhere_are_refused(location, spoiled):
    (spoiled.parent / "secret").write_bytes(bytes(2000))
    with_weights_at(spoiled, location)
    reseal(spoiled)
    refused(spoiled, "keep its weights beside it. Received: ")
    refused(spoiled / "model.onnx", "keep its weights beside it", [export.inspect])


@pytest.mark.parametrize("link", [os.symlink, os.link], ids=["symbolic", "hard"])
def test_weights_behind_a_link_are_refused(link, spoiled):
    (spoiled.parent / "secret").write_bytes(bytes(2000))
    link(spoiled.parent / "secret", spoiled / "weights.bin")
    with_weights_at(spoiled, "weights.bin")
    reseal(spoiled)
    refused(spoiled, "weights.bin to be a regular file. Received: a (symbolic|hard) link")


@pytest.mark.parametrize("link", [os.symlink, os.link], ids=["symbolic", "hard"])
@pytest.mark.parametrize("name", ["model.onnx", "artifact.json"])
def test_a_link_in_an_artifact_is_refused(link, name, spoiled):
    (spoiled / name).rename(spoiled.parent / name)
    link(spoiled.parent / name, spoiled / name)
    refused(spoiled, rf"{name} to be a regular file. Received: a (symbolic|hard) link")


def test_a_linked_folder_in_an_artifact_is_refused(spoiled):
    (spoiled / "saved_model").rename(spoiled.parent / "saved_model")
    (spoiled / "saved_model").symlink_to(spoiled.parent / "saved_model")
    refused(spoiled, "saved_model to be a regular file. Received: a symbolic link", [export.verify])


def test_a_pipe_in_an_artifact_is_refused(spoiled):
    os.mkfifo(spoiled / "pipe")
    refused(spoiled, "neither a file nor a folder", [export.verify])


def bomb(path: Path, compression: int) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (2**40,)})
    with zipfile.ZipFile(path, "w", compression) as archive:
        body = header.getvalue() + (bytes(2**24) if compression else b"")
        archive.writestr("0/input/input.npy", body)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["declared", "compressed"])
def test_samples_that_hold_more_than_they_seem_to_are_refused(compression, spoiled):
    bomb(spoiled / "samples.npz", compression)
    reseal(spoiled)
    refused(spoiled, "Expected .*samples.npz", [export.verify])


@pytest.mark.parametrize(
    "content", [b"", b"garbage", os.urandom(5000), b"PK\x03\x04" + bytes(100), b"\x3a\xff\xff\xff\xff\xff\x7f"]
)
def test_garbage_is_refused(content, spoiled):
    (spoiled / "model.onnx").write_bytes(content)
    reseal(spoiled)
    refused(spoiled, "model.onnx")
    refused(spoiled / "model.onnx", "model.onnx", [export.inspect])


def test_half_a_file_is_refused(spoiled):
    (spoiled / "model.onnx").write_bytes((spoiled / "model.onnx").read_bytes()[:-50])
    reseal(spoiled)
    refused(spoiled, "model.onnx to be an ONNX file")


def length(value: int) -> bytes:
    digits = []
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])


def nested(levels: int) -> bytes:
    """A model with an `If` in an `If` in an `If`."""
    inner = b""
    for _ in range(levels):
        for tag in (6, 5, 1):  # the attribute's graph, the node's attribute, the graph's node
            inner = bytes([tag << 3 | 2]) + length(len(inner)) + inner
    return b"\x3a" + length(len(inner)) + inner


def test_graphs_too_deep_in_each_other_are_refused(spoiled):
    (spoiled / "model.onnx").write_bytes(nested(5000))
    reseal(spoiled)
    refused(spoiled, "nested too deeply")


def test_a_manifest_too_deep_is_refused(spoiled):
    (spoiled / "artifact.json").write_text("[" * 200_000 + "]" * 200_000)
    refused(spoiled, "artifact.json")


def test_folders_too_deep_in_each_other_are_refused(spoiled):
    spoiled.joinpath(*["x"] * 20).mkdir(parents=True)
    refused(spoiled, "nested folders", [export.verify])


def test_weights_beside_the_model_are_read_and_their_hash_is_checked(spoiled):
    model = onnx.load(spoiled / "model.onnx")
    onnx.save(model, spoiled / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=100)
    reseal(spoiled)
    x = np.zeros((2, 8, 8, 3), "uint8")
    assert export.load(spoiled)(x).shape == (2, 4)
    assert export.verify(spoiled)["max_abs_diff"] <= 1e-5
    data = bytearray((spoiled / "weights.bin").read_bytes())
    data[0] ^= 1
    (spoiled / "weights.bin").write_bytes(data)
    refused(spoiled, "weights.bin", [export.verify, export.load])


def test_an_artifact_may_itself_be_reached_through_a_link(spoiled):
    (spoiled.parent / "current").symlink_to(spoiled)
    assert export.load(spoiled.parent / "current").labels == ["ant", "bee", "cat", "dog"]
    assert conv_net().name


@pytest.mark.parametrize("when", ["called", "loaded"])
def test_a_saved_model_that_writes_files_is_refused_before_it_can(when, spoiled):
    tf = pytest.importorskip("tensorflow")
    stolen = spoiled.parent / "stolen"

    class Program(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 3), "uint8", name="input")])
        def serve(self, input):
            tf.io.write_file(str(stolen), "written")
            return {"probabilities": tf.zeros((tf.shape(input)[0], 4))}

    class Resource(tf.saved_model.experimental.TrackableResource):
        def _create_resource(self):
            return tf.raw_ops.MutableHashTableV2(key_dtype=tf.int64, value_dtype=tf.int64)

        def _initialize(self):
            tf.io.write_file(str(stolen), "written")

    class Loaded(tf.Module):
        def __init__(self):
            super().__init__()
            self.resource = Resource()

        @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 3), "uint8", name="input")])
        def serve(self, input):
            return {"probabilities": tf.zeros((tf.shape(input)[0], 4))}

    program = Program() if when == "called" else Loaded()
    shutil.rmtree(spoiled / "saved_model")
    tf.saved_model.save(program, str(spoiled / "saved_model"), signatures={"serving_default": program.serve})
    reseal(spoiled)
    stolen.unlink(missing_ok=True)
    refused(spoiled, "Expected a SavedModel that only computes. Received: .* is WriteFile", [export.verify])
    assert not stolen.exists()
