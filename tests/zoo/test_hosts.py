"""Hosts that train together: each reads its part of every batch, and any number of them go on with a run.

The two hosts are network namespaces with addresses of their own; see `network.sh`.
"""

import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

import zoo
from tests.processes import QUICK_JAX, ROOT
from zoo.data import Augmentation

HERE = Path(__file__).parent
# Two hosts add gradients and batch statistics in another order than one, which changes the last bits of float32: the
# weights then differ by 4e-7 after eight steps. A step that is lost or repeated changes them by more than 1e-3.
TOLERANCE = 1e-5


class Counted:
    """Rows that note which of them are read."""

    def __init__(self, rows):
        self.rows, self.read = rows, []

    def __getattr__(self, name):
        return getattr(self.rows, name)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, which):
        self.read.extend(np.arange(len(self))[which].tolist())
        return self.rows[which]


def batches_that_count(shard=(0, 1), **augmentation):
    digits = zoo.load_source("digits")
    rows = Counted(digits.train_inputs[:77])
    options = {"seed": 3, "augmentation": Augmentation(**augmentation), "shard": shard}
    return rows, zoo.Batches(rows, digits.train_targets[:77], 10, digits.preprocessing, 24, **options)


@pytest.mark.parametrize("count", [2, 3])
def test_a_host_reads_its_own_part_of_each_batch(count):
    whole, alone = batches_that_count(pad=1, flip=True)
    hosts = [batches_that_count((rank, count), pad=1, flip=True) for rank in range(count)]
    for epoch, index in itertools.product((0, 4), range(alone.batches_per_epoch)):
        for rows, _ in [(whole, None), *hosts]:
            rows.read.clear()
        images, labels = alone.batch(epoch, index)
        parts = [batches.batch(epoch, index) for _, batches in hosts]
        assert [one for rows, _ in hosts for one in rows.read] == whole.read
        np.testing.assert_array_equal(np.concatenate([part for part, _ in parts]), images)
        np.testing.assert_array_equal(np.concatenate([part for _, part in parts]), labels)


def test_of_other_parts_a_host_reads_the_one_image_that_its_last_is_mixed_with():
    (whole, alone), (rows, first) = batches_that_count(mixup=0.2), batches_that_count((0, 2), mixup=0.2)
    images, _ = alone.batch(0, 0)
    part, _ = first.batch(0, 0)
    assert rows.read == whole.read[:13]
    np.testing.assert_array_equal(part, images[:12])


@pytest.fixture(scope="module")
def network():
    """The process that holds two hosts in a network of their own."""
    command = ["unshare", "--map-root-user", "--net", "--mount", "sh", HERE / "network.sh"]
    try:
        holder = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    except FileNotFoundError:
        pytest.skip("needs unshare, of util-linux")
    if holder.stdout.readline() != "ready\n":
        pytest.skip(f"needs network namespaces, which are refused here: {holder.communicate()[1]}")
    yield holder
    holder.kill()
    holder.communicate()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Seventy photos of two classes."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    for name in ("china", "flower"):
        whole = Image.fromarray(load_sample_image(f"{name}.jpg"))
        (folder / name).mkdir(parents=True)
        for number in range(35):
            left, top = 12 * number, 7 * number
            part = whole.crop((left, top, left + 60 + number, top + 90 - number))
            part.save(folder / name / f"{number}.jpg")
    return folder


class Runs:
    """Trains in a folder, on one host or on two, each in a process that may kill itself."""

    def __init__(self, folder, photos, holder):
        self.folder, self.photos, self.holder = folder, photos, holder
        # What host 0 and host 1 of two have read, and one that is alone.
        self.read = {name: {} for name in ("0 of 2", "1 of 2", "0 of 1")}

    def train(self, count, *moment):
        """Trains to the end, or until a moment (epoch, batch)."""
        addresses = {"KERAS_DISTRIBUTION_JOB_ADDRESSES": "first:12345", "KERAS_DISTRIBUTION_NUM_PROCESSES": "2"}
        enter = ["nsenter", "--preserve-credentials", "--user", "--mount", "--target", self.holder.pid]
        logs, processes = [], []
        for rank, host in enumerate(("first", "second")[:count]):
            logs.append(self.folder / f"{rank} of {count}")
            variables = os.environ | QUICK_JAX | {"KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT)}
            variables |= {"KERAS_SKIP_CACHE": str(self.folder / f"cache{rank}")}
            command = [sys.executable, HERE / "host.py", self.folder / "run", self.photos, logs[-1], *moment]
            if count > 1:
                variables |= addresses | {"KERAS_DISTRIBUTION_PROCESS_ID": str(rank)}
                command = [*enter, "sh", HERE / "network.sh", host, *command]
            whole = list(map(str, command))
            processes.append(subprocess.Popen(whole, env=variables, stderr=subprocess.PIPE, text=True))
        for log, process in zip(logs, processes, strict=True):
            _, told = process.communicate(timeout=300)
            assert process.returncode == (-signal.SIGKILL if moment else 0), told
            self._read(log)

    def _read(self, log):
        found = self.read[log.name]
        for line in log.read_text().splitlines():
            epoch, batch, *examples = json.loads(line)
            # A resumed run reads the same again.
            assert found.setdefault((epoch, batch), examples) == examples

    def record(self):
        return json.loads((self.folder / "run" / "run.json").read_text())


@pytest.fixture(scope="module")
def alone(network, photos, tmp_path_factory):
    """The run of one host that nothing happens to."""
    runs = Runs(tmp_path_factory.mktemp("alone"), photos, network)
    runs.train(1)
    return runs


def test_two_hosts_and_one_go_on_with_each_others_run(alone, network, photos, tmp_path):
    """Two hosts are killed in the first epoch; one resumes their run and is killed in the second; two end it."""
    runs = Runs(tmp_path, photos, network)
    runs.train(2, 0, 3)
    assert runs.record()["devices"]["processes"] == 2
    runs.train(1, 1, 3)
    assert runs.record()["devices"]["processes"] == 1
    runs.train(2)
    record = runs.record()
    assert (record["status"], record["devices"]["count"]) == ("complete", 2)
    assert [(one["epoch"], one["batch"]) for one in record["resumed"]] == [(0, 2), (1, 2)]

    expected = alone.read["0 of 1"]
    assert len(expected) == 8
    for step, examples in expected.items():
        if step in runs.read["0 of 2"]:
            assert runs.read["0 of 2"][step] + runs.read["1 of 2"][step] == examples
        if step in runs.read["0 of 1"]:
            assert runs.read["0 of 1"][step] == examples
    assert expected.keys() == runs.read["0 of 2"].keys() | runs.read["0 of 1"].keys()

    one, two = (zoo.load(folder / "run").get_weights() for folder in (alone.folder, tmp_path))
    assert max(np.abs(a - b).max() for a, b in zip(one, two, strict=True)) < TOLERANCE
    figures = [{k: v for k, v in r.record()["results"].items() if "accuracy" in k} for r in (alone, runs)]
    assert figures[0] == pytest.approx(figures[1])
