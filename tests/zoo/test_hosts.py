"""Hosts that train together: each reads its part of every batch, and any number of them go on with a run.

The two hosts are network namespaces with addresses of their own; see `network.sh`.
"""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

import zoo
from tests.processes import QUICK_JAX, ROOT
from tests.sweep import sweep
from zoo.data import Augmentation
from zoo.data.streaming.files import Files

HERE = Path(__file__).parent
NAMES = ("china", "flower")
# Two hosts add gradients and batch statistics in another order than one, which changes the last bits of float32: the
# weights then differ by 4e-7 after eight steps. A step that is lost or repeated changes them by more than 1e-3. If
# rounding moved an input of a ReLU across zero, they would change by 1e-5 at once; there is none in this run.
TOLERANCE = 1e-5


def photo(number):
    """A part of one of two photos, in a size of its own, as JPEG."""
    left, top, file = 12 * number % 400, 7 * number % 300, io.BytesIO()
    whole = Image.fromarray(load_sample_image(NAMES[number % 2] + ".jpg"))
    whole.crop((left, top, left + 60 + number, top + 100 - number)).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Shards of 56 photos to train on and 14 to test on."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    folder.mkdir()
    for shard, numbers in (("train-0", range(30)), ("train-1", range(30, 56)), ("test-0", range(56, 70))):
        with tarfile.open(folder / f"{shard}.tar", "w") as archive:
            for number in numbers:
                for suffix, data in (("jpg", photo(number)), ("cls", NAMES[number % 2].encode())):
                    member = tarfile.TarInfo(f"{number:03}.{suffix}")
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
    return folder


def batches_of(source, shard=(0, 1), **augmentation):
    """Batches whose images this process reads itself."""
    options = {"seed": 3, "augmentation": Augmentation(**augmentation), "shard": shard, "processes": 0}
    return zoo.Batches(source.train_inputs, source.train_targets, 2, source.preprocessing, 24, **options)


@pytest.fixture
def read(monkeypatch):
    """The photos that are read from their shards, one after the other."""
    places, read_one = [], Files.read

    def read_and_note(files, place):
        places.append(place)
        return read_one(files, place)

    monkeypatch.setattr(Files, "read", read_and_note)
    return places


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("augmentation", [{"flip": True}, {"crop_area": (0.3, 1.0), "cutout": 4}])
def test_a_host_reads_its_own_part_of_each_batch(count, augmentation, photos, read):
    source = zoo.load_source(photos, image_size=(16, 16), stream=True, cache=False)
    alone = batches_of(source, **augmentation)
    hosts = [batches_of(source, (rank, count), **augmentation) for rank in range(count)]
    # The last batch has 8 examples.
    for epoch, index in ((0, 0), (4, 1), (4, 2)):
        read.clear()
        images, labels = alone.batch(epoch, index)
        expected = read.copy()
        assert len(set(expected)) == len(images)
        read.clear()
        parts = [batches.batch(epoch, index) for batches in hosts]
        assert read == expected
        np.testing.assert_array_equal(np.concatenate([part for part, _ in parts]), images)
        np.testing.assert_array_equal(np.concatenate([part for _, part in parts]), labels)


def test_of_other_parts_a_host_reads_the_one_photo_that_its_last_is_mixed_with(photos, read):
    source = zoo.load_source(photos, image_size=(16, 16), stream=True, cache=False)
    read.clear()
    images, _ = batches_of(source, mixup=0.2).batch(0, 0)
    whole = read[:24]
    read.clear()
    part, _ = batches_of(source, (0, 2), mixup=0.2).batch(0, 0)
    assert read == whole[:13]
    np.testing.assert_array_equal(part, images[:12])


def test_the_files_of_other_hosts_may_be_damaged_for_all_that_workers_care(tmp_path, read):
    for number in range(60):
        folder = tmp_path / NAMES[number % 2]
        folder.mkdir(exist_ok=True)
        (folder / f"{number}.jpg").write_bytes(photo(number))
    source = zoo.load_source(tmp_path, image_size=(16, 16), stream=True, cache=False)
    read.clear()
    expected, _ = batches_of(source, (1, 2)).batch(0, 0)
    files = source.train_inputs.files
    ours = {tmp_path / files.member(place) for place in read}
    for path in set(tmp_path.rglob("*.jpg")) - ours:
        path.write_bytes(bytes(path.stat().st_size))
    options = {"seed": 3, "shard": (1, 2), "processes": 1}
    batches = zoo.Batches(source.train_inputs, source.train_targets, 2, source.preprocessing, 24, **options)
    with closing(batches):
        np.testing.assert_array_equal(batches.batch(0, 0)[0], expected)
        with pytest.raises(ValueError, match="Expected images that can be read"):
            batches.batch(0, 1)


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


class Runs:
    """Trains in a folder, on one host or on two, each in a process that may kill itself."""

    def __init__(self, folder, photos, holder, devices=1):
        self.folder, self.photos, self.holder, self.devices = folder, photos, holder, devices
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
            variables |= {"KERAS_SKIP_WORKERS": "1", "JAX_NUM_CPU_DEVICES": "2"}
            variables["KERAS_SKIP_CACHE"] = str(self.folder / f"cache{rank}")
            given = self.folder / "run", self.photos, self.devices, logs[-1], *moment
            command = [sys.executable, HERE / "host.py", *given]
            if count > 1:
                variables |= addresses | {"KERAS_DISTRIBUTION_PROCESS_ID": str(rank)}
                command = [*enter, "sh", HERE / "network.sh", host, *command]
            whole = list(map(str, command))
            processes.append(subprocess.Popen(whole, env=variables, stderr=subprocess.PIPE, text=True))
        try:
            told = [process.communicate(timeout=300)[1] for process in processes]
        finally:
            for process in processes:
                process.kill()
                process.communicate()
        expected = [-signal.SIGKILL if moment else 0] * count
        assert [process.returncode for process in processes] == expected, "\n".join(told)
        for log in logs:
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


# The numbers of hosts, each with the epoch and the batch in which they are killed; the last go on to the end.
STAGES = {"one, then two": ((1, 0, 3), (2,)), "two, one, two": ((2, 0, 3), (1, 1, 3), (2,))}
RESUMED = {"one, then two": [(0, 2)], "two, one, two": [(0, 2), (1, 2)]}


@pytest.mark.parametrize("counts", sweep(STAGES, {"one, then two"}))
def test_two_hosts_and_one_go_on_with_each_others_run(counts, alone, network, photos, tmp_path):
    runs = Runs(tmp_path, photos, network, devices=2)
    for count, *moment in STAGES[counts]:
        runs.train(count, *moment)
        record = runs.record()
        assert (record["devices"]["processes"], record["devices"]["count"]) == (count, 2 * count)
    assert record["status"] == "complete"
    assert [(one["epoch"], one["batch"]) for one in record["resumed"]] == RESUMED[counts]

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
