"""Files to predict for, what a bare session of onnxruntime computes for them, and how outputs are read."""

import csv
import io
import json
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

LABELS = ["ant", "bee", "cat", "dog"]
NAMES = [f"{folder}/{number}.png" for folder in ("a", "b") for number in (1, 10, 2)]


def session_of(artifact):
    return onnxruntime.InferenceSession(artifact / "model.onnx", providers=["CPUExecutionProvider"])


def outputs_of(artifact, x):
    session = session_of(artifact)
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def encode(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write_folder(folder, contents):
    for name, data in contents.items():
        file = os.path.join(os.fsencode(folder), os.fsencode(name))
        os.makedirs(os.path.dirname(file), exist_ok=True)
        with open(file, "wb") as opened:
            opened.write(data)


def as_tar(path, contents, mode):
    with tarfile.open(path, mode) as archive:
        for name, data in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def as_zip(path, contents):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in contents.items():
            archive.writestr(name, data)


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def lines_of(path):
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").split("\n")[:-1]]


def check(rows, probabilities):
    """The rows are of the most probable classes."""
    assert [row["label"] for row in rows] == [LABELS[index] for index in probabilities.argmax(-1)]
    np.testing.assert_array_equal([np.float32(row["probability"]) for row in rows], probabilities.max(-1))
