"""Worker processes: what they make, what they import, and how they end."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

import zoo
from export.images import ImageReader
from tests.processes import ROOT
from zoo.data import Augmentation, Batches, Preprocessing
from zoo.data.streaming.folders import list_folder
from zoo.data.streaming.photos import Photos
from zoo.devices.padding import PaddedBatches, distribute

SIZE = (24, 32)
PLAIN = Preprocessing(1 / 255, (0.4, 0.5, 0.6), (0.2, 0.3, 0.1))
COUNT = 150

# What a user writes: nothing keeps it from running again in another process.
SCRIPT = """
import os, sys, time
from multiprocessing import active_children
from pathlib import Path
import numpy as np
from export.images import ImageReader
from zoo.data import Augmentation, Batches, Preprocessing
from zoo.data.streaming.folders import list_folder
from zoo.data.streaming.photos import Photos

print("begun", flush=True)
listing, _ = list_folder(Path("photos"))
reads = listing.files
batches = lambda **options: Batches(
    Photos(reads, ImageReader((24, 32))), listing.holder_of, 2, Preprocessing(1.0, (0.0,), (1.0,)), 64,
    **{"seed": 1, "epochs": 2, "processes": 2} | options,
)
"""
OF_TENSORFLOW = r"I0000|WARNING: All log messages|To enable the following instructions"
PIDS = "print(*[child.pid for child in active_children()], flush=True)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photos of two classes: parts of two real ones, as JPEGs of several sizes."""
    path = tmp_path_factory.mktemp("workers")
    for name, photo in zip(("china", "flower"), load_sample_images().images, strict=True):
        (path / "photos" / name).mkdir(parents=True)
        for number in range(COUNT // 2):
            part = photo[number : number + 60 + number, 3 * number : 3 * number + 90]
            Image.fromarray(part).save(path / "photos" / name / f"{number:03}.jpg", quality=90)
    return path


@pytest.fixture(scope="module")
def photos(folder):
    listing, _ = list_folder(folder / "photos")
    return Photos(listing.files, ImageReader(SIZE)), listing.holder_of


def make(photos, size=40, **options):
    images, labels = photos
    return Batches(images, labels, 2, PLAIN, size, **options)


def start(folder, code, **environment):
    """Starts Python as a shell would, in a group of processes of its own."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": "numpy", **environment}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT + code],
        cwd=folder,
        env=variables,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def run(folder, code, **environment):
    process = start(folder, code, **environment)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, [line for line in err.splitlines() if not re.match(OF_TENSORFLOW, line)]


def have_ended(pids, seconds=20):
    """Waits until processes have ended; those whose parent was killed may wait for someone to notice."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        states = [Path(f"/proc/{pid}/stat") for pid in pids]
        if all(not path.exists() or path.read_text().rpartition(")")[2].split()[0] == "Z" for path in states):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(("shard", "free"), [((0, 1), 2**40), ((1, 2), 1000)])
def test_workers_make_the_batches_that_this_process_makes(photos, shard, free, monkeypatch):
    """Also where there is too little shared memory, as in containers."""
    monkeypatch.setattr("zoo.data.workers.stream.disk_usage", lambda path: SimpleNamespace(free=free))
    options = {"seed": 5, "epochs": 3, "shard": shard}
    options["augmentation"] = Augmentation(pad=4, flip="alternating", rand_ops=1, mixup=0.2, cutmix=1.0)
    here, there = make(photos, 100, processes=0, **options), make(photos, 100, processes=3, **options)
    # Keras looks at the first two batches before it begins, and its threads overtake each other; a run may resume.
    for place in [(0, 0), (0, 1), (0, 1), (0, 0), (1, 1), (1, 0), (2, 0), (0, 1)]:
        for expected, found in zip(here.batch(*place), there.batch(*place), strict=True):
            np.testing.assert_array_equal(found, expected)
            assert (type(found), found.dtype, found.flags.owndata) == (np.ndarray, expected.dtype, True)
    there.close()


def test_in_evaluation_each_pass_begins_anew(photos):
    images = photos[0]
    batches = make(photos, 64, processes=2)
    for _ in range(2):
        found = np.concatenate([batches[index][0] for index in range(len(batches))])
        np.testing.assert_array_equal(found, PLAIN(images[:]))
        assert not batches._stream._workers, "workers end with the pass"


def test_several_devices_share_what_workers_make(photos):
    here, there = (PaddedBatches(make(photos, 64, processes=count), 4) for count in (0, 2))
    assert (len(there), there.max_queue_size) == (3, 2)
    last = there[2]
    assert [len(array) for array in last] == [24] * 3
    for expected, found in zip(here[2], last, strict=True):
        np.testing.assert_array_equal(found, expected)
    fed = [[array.numpy() for array in batch] for batch in distribute(there)]
    assert len(fed) == 3
    for index, batch in enumerate(fed):
        for expected, found in zip(here[index], batch, strict=True):
            np.testing.assert_array_equal(found, expected)


def test_workers_import_no_framework_and_do_not_run_the_program_again(folder):
    code = """
class Files:
    def __len__(self): return len(reads)
    def read(self, place):
        loaded = {name.partition(".")[0] for name, module in list(sys.modules.items()) if module is not None}
        Path(f"{os.getpid()}.imported").write_text(" ".join(sorted(loaded)))
        return kept.read(place)
kept = reads
reads = Files()
batches()[0]
"""
    code, out, err = run(folder, code.replace("len(reads)", "len(kept)"), KERAS_BACKEND="jax")
    assert (code, out, err) == (0, "begun\n", [])
    files = list(folder.glob("*.imported"))
    imported = [set(file.read_text().split()) for file in files]
    assert len(imported) == 2
    for names in imported:
        assert {"grain", "numpy", "PIL", "zoo"} <= names
        assert not names & {"jax", "jaxlib", "keras", "tensorflow", "torch", "sklearn", "matplotlib"}


def test_workers_end_with_their_parent(folder):
    """Killed, and at the end of its program, where nobody closes the batches."""
    process = start(folder, f"made = batches()\nmade[0]\n{PIDS}\ntime.sleep(60)")
    assert process.stdout.readline() == "begun\n"
    pids = process.stdout.readline().split()
    assert len(pids) == 2 and not have_ended(pids, 0.2)
    maps = [line for pid in pids for line in Path(f"/proc/{pid}/maps").read_text().splitlines() if "/psm_" in line]
    # Shared memory with a name would stay if all of them were killed at once.
    assert len(maps) == 2 and all(line.endswith(" (deleted)") for line in maps)
    process.kill()
    assert have_ended(pids)
    process.communicate()
    code, out, err = run(folder, f"made = batches()\nmade[0]\n{PIDS}")
    assert (code, err) == (0, [])
    assert have_ended(out.split()[1:], 0.2)


def test_signals_to_the_whole_group_leave_the_workers_to_their_parent(folder):
    """As Ctrl-C sends them, and Slurm."""
    code = f"""
import signal
caught = []
for signum in (signal.SIGINT, signal.SIGTERM): signal.signal(signum, lambda number, frame: caught.append(number))
made = batches()
made[0]
{PIDS}
while len(caught) < 2: time.sleep(0.01)
for epoch in range(2):
    for index in range(3): made.batch(epoch, index)
print("done", active_children())
"""
    process = start(folder, code)
    assert process.stdout.readline() == "begun\n"
    pids = process.stdout.readline().split()
    for signum in (signal.SIGINT, signal.SIGTERM):
        os.killpg(process.pid, signum)
        time.sleep(0.2)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "done []\n"), err
    assert have_ended(pids) and "Traceback" not in err


def starting(pid):
    """Whether a process has begun to start a worker."""
    children = [child for task in Path(f"/proc/{pid}/task").glob("*/children") for child in task.read_text().split()]
    return any(b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes() for child in children)


def test_ctrl_c_waits_for_workers_that_start(folder):
    code = "import signal\nsignal.signal(signal.SIGINT, lambda *_: None)\nmade = batches()\nprint(len(made[0][1]))"
    process = start(folder, code)
    end = time.monotonic() + 60
    while not starting(process.pid) and time.monotonic() < end:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and out.strip(), err
    assert "Traceback" not in err


def test_a_dead_worker_is_one_sentence(folder):
    code = """
made = batches(epochs=50)
made[0]
os.kill(active_children()[0].pid, 9)
try:
    for epoch in range(50):
        for index in range(3): made.batch(epoch, index)
except OSError as error:
    print(error)
print(active_children())
"""
    code, out, err = run(folder, code)
    assert (code, "Traceback" in "".join(err)) == (0, False)
    assert re.fullmatch(r"begun\nA worker process that reads photos died, perhaps .*exit code -9\n\[\]\n", out), out


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_a_damaged_image_is_one_sentence_in_training(folder, tmp_path, backend):
    code = """
import keras
from zoo.data.batches import raise_failures
(Path("photos") / "china" / "010.jpg").write_bytes((Path("photos") / "china" / "010.jpg").read_bytes()[:900])
model = keras.Sequential([keras.Input((24, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
made = batches()
try:
    with raise_failures(made):
        model.fit(made, shuffle=False, verbose=0)
except ValueError as error:
    print(error, error.__cause__)
print(active_children())
"""
    (tmp_path / "photos").mkdir()
    for name in ("china", "flower"):
        (tmp_path / "photos" / name).mkdir()
        for file in (folder / "photos" / name).iterdir():
            (tmp_path / "photos" / name / file.name).write_bytes(file.read_bytes())
    code, out, err = run(tmp_path, code, KERAS_BACKEND=backend)
    assert code == 0, err
    _, sentence, children = out.splitlines()
    assert re.match(r"Expected images that can be read.*Received: 'photos/china/010.jpg' \(.*\) None$", sentence)
    assert children == "[]"
    assert not any("Traceback" in line for line in err)


def test_a_run_on_streamed_photos_is_the_same_with_and_without_workers(folder, tmp_path, monkeypatch):
    weights, records = [], []
    for count in ("0", "2"):
        monkeypatch.setenv("KERAS_SKIP_WORKERS", count)
        monkeypatch.setenv("KERAS_SKIP_CACHE", str(tmp_path / "cache"))
        source = zoo.load_source(folder / "photos", image_size=(8, 8), stream=True)
        options = {"epochs": 2, "batch_size": 40, "augment.pad": 1, "augment.flip": True, "arguments.depth": 3}
        trained = zoo.train("plain_mlp_digits", source, tmp_path / count, **options)
        weights.append(zoo.load(trained.path).get_weights())
        records.append({name: value for name, value in trained.results.items() if "second" not in name})
    assert records[0] == records[1]
    assert all(np.array_equal(a, b) for a, b in zip(*weights, strict=True))
    assert (tmp_path / "2" / "report.html").exists()
    assert json.loads((tmp_path / "2" / "run.json").read_text())["status"] == "complete"


def test_ctrl_c_saves_a_run_on_streamed_photos_and_ends_its_workers(folder, tmp_path):
    options = ["--stream", "--image-size", "8", "--epochs", "2000", "--batch-size", "40", "--checkpoint-minutes", "60"]
    options += ["--set", "arguments.depth=3"]
    running = subprocess.Popen(
        [sys.executable, "-m", "zoo.cli", "train", "plain_mlp_digits", "--data", folder / "photos", *options],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "KERAS_SKIP_WORKERS": "2", "KERAS_SKIP_CACHE": str(tmp_path)},
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    deadline = time.monotonic() + 200
    while not any(len(path.read_text().splitlines()) > 2 for path in tmp_path.glob("runs/*/history.csv")):
        assert running.poll() is None and time.monotonic() < deadline, running.communicate()[1]
        time.sleep(0.05)
    stats = {path: path.read_text().rpartition(")")[2].split()[1] for path in Path("/proc").glob("[0-9]*/stat")}
    children = [path.parent.name for path, parent in stats.items() if parent == str(running.pid)]
    assert len(children) >= 2
    os.killpg(running.pid, signal.SIGINT)
    _, err = running.communicate(timeout=100)
    assert running.returncode == 128 + signal.SIGINT, err
    assert "Traceback" not in err and "leaked" not in err
    assert "resume with: keras-skip train --resume runs/plain_mlp_digits" in err.splitlines()[-1]
    assert have_ended(children)
