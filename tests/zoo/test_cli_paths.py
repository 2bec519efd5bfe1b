"""What is not there, or already is, every command refuses before it loads Keras or TensorFlow."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer

import zoo.cli
from zoo.training.recipes import get_recipe

ROOT = Path(__file__).parents[2]

# Each line is refused because of what stands last in it, or behind the "#". "run" is complete, "moved" has lost its
# data, "begun" has no network, "lost" has neither; "there.*" is already there.
REFUSED = """
train plain_mlp_digits --data nowhere
train plain_mlp_digits --data there.txt
train plain_mlp_digits --out there.txt
train plain_mlp_digits --out run
train plain_mlp_digits --overwrite --out photos
train plain_mlp_digits --image-size big
train plain_mlp_digits --on-bad-image ignore
train plain_mlp_digits --image-size 48y64
train plain_mlp_digits --image-size 0x8
train plain_mlp_digits --validation 1.5
train plain_mlp_digits --validation nan
train plain_mlp_digits --seed -1
train plain_mlp_digits --epochs 0
train plain_mlp_digits --batch-size 0
train plain_mlp_digits --device cuda
train plain_mlp_digits --devices 0
train plain_mlp_digits --checkpoint-minutes 0.0
train plain_mlp_digits --checkpoint-steps 0
train plain_mlp_digits --gradients 0
train plain_mlp_digits --set epochs
train resnet20_digits --set teacher=nowhere # teacher='nowhere'
train plain_mlp_digits_
train --resume nowhere
train --resume lost # gone
train --resume begun --image-size 8 # begun
train --resume begun --on-bad-image skip # begun
runs nowhere
report nowhere
report moved # gone
evaluate nowhere
evaluate moved # gone
evaluate begun
evaluate run --data nowhere
evaluate resnet20 --weights nothing
evaluate resnet20 --weights digits --data nowhere
compare plain_mpl
compare plain_mlp --data nowhere
compare plain_mlp --recipe plain_mlp_digits_
compare plain_mlp --out there.txt
gradients nowhere
gradients begun
gradients plain_mlp --data nowhere
gradients plain_mlp --out there.svg
draw nowhere
draw begun
draw nowhere.keras
draw plain_mlp --out there.svg
draw plain_mlp --set =3
gradients plain_mlp --batch-size 0
compare plain_mlp --seeds 0
draw plain_mlp --out old.svg # old.csv
gates nowhere
gates moved # gone
gates highway_mlp --weights nothing
gates run --data nowhere
gates run --out there.svg
gates run --out old.png # old.csv
lesion nowhere
lesion begun
lesion residual_mlp --weights digits --data nowhere
lesion run --out there.svg
survival stochastic_resnet110 nowhere
survival stochastic_resnet110 --out there.svg
skips nowhere
skips nowhere.keras
skips begun
skips moved # gone
skips run --data nowhere
skips dense_mlp --data nowhere
skips dense_mlp --weights nowhere
skips dense_mlp --weights nowhere.h5
skips run --weights digits # run
skips dense_mlp --out there.svg
skips run --out old.png # old.csv
skips run --prune 0.1,little
skips run --prune 0.1,0
skips run --prune nan
skips run --prune 0.1 --out old2.svg # old2-pruned.csv
export nowhere
export nowhere.keras
export begun
export moved # gone
export run --out photos
export net.keras --samples nowhere.npy
export net.keras --samples there.txt
export net.keras --samples pickled.npy
export run --samples good.npy
export run --opset 3
export run --for-runtime 1.2
export run --for-runtime 1.17 --opset 20
export run --record some
export run --format onxx
export run --precision fp16 --format saved_model
export run --precision int5
export run --layout chwn
export run --device gpu
export net.keras --precision int8 # net.keras
export run --overwrite --out photos
verify nowhere
verify photos
inspect nowhere
inspect photos
inspect there.txt
inspect there.txt --batch 0
inspect there.txt --device gpu
predict nowhere photos # nowhere
predict photos photos
predict begun photos # begun
predict run nowhere.png
predict run photos nothing*.png
predict run photos --out there.txt
predict run photos --out old.csv
predict run photos --out new.xls
predict run photos --overwrite --out photos
predict run photos --batch-size 0
predict run photos --top 0
predict run photos --on-bad-input ignore
predict run photos --device gpu
predict run photos --ray local # run
serve nowhere
serve name=nowhere # nowhere
serve photos
serve --token-file there.txt nowhere
deploy --target triton nowhere
deploy --target triton photos
deploy --target kserve --storage-uri s3://bucket nowhere
deploy --target ray nowhere
deploy --target cloud nowhere # cloud
deploy --target ray --out models nowhere # --out for ray
deploy --target kserve nowhere # none
serve photos --port 65536
publish nowhere digits # nowhere
publish begun digits # begun
publish run name --data nowhere
publish run --out shipped digits # shipped
publish run na.me
describe nowhere
list nowhere
list --format csv
recipes nowhere
cache clear nowhere
cache clear # neither
cache clear nowhere --all # both
"""
# The words of each line, and what its error has to name.
LINES = {line: line.partition(" # ")[0].split() for line in REFUSED.split("\n") if line}
WITHOUT_PATHS = {"results"}
COMMANDS = set(typer.main.get_command(zoo.cli.app).commands)
# A command without a line of its own refuses a path that does not exist.
OTHERS = COMMANDS - WITHOUT_PATHS - {words[0] for words in LINES.values()}
LINES |= {f"{command} nowhere": [command, "nowhere"] for command in sorted(OTHERS)}

SCRIPT = """
import json, sys
# What is None in sys.modules cannot be imported.
sys.modules.update(dict.fromkeys(("keras", "tensorflow", "jax", "torch")))
import zoo.cli
said = []
for line in json.load(sys.stdin):
    try:
        zoo.cli.app(line, standalone_mode=False)
        said.append("nothing")
    except Exception as error:
        said.append(f"{type(error).__name__}: {error}")
json.dump(said, sys.stdout)
"""


def write_run(folder, source, status="complete"):
    """The folder of a run, as far as it is looked at before Keras is loaded."""
    folder.mkdir()
    source = {"name": source, "class_names": [], "preprocessing": {}}
    record = {"recipe": get_recipe("plain_mlp_digits").as_dict(), "source": source, "status": status}
    record |= {"started": "2026-01-01", "results": {}, "environment": {}, "overrides": {}}
    (folder / "run.json").write_text(json.dumps(record))
    if status == "complete":
        (folder / "model.keras").touch()


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What each command line ends with, by its text; and the folder that they all ran in."""
    folder = tmp_path_factory.mktemp("paths")
    write_run(folder / "run", "digits")
    write_run(folder / "begun", "digits", status="interrupted")
    write_run(folder / "moved", str(folder / "gone"))
    write_run(folder / "lost", str(folder / "gone"), status="interrupted")
    for name in ("photos", "shipped"):
        (folder / name).mkdir()
    for name in (
        "there.txt",
        "there.svg",
        "old.csv",
        "old2-pruned.csv",
        "net.keras",
        "photos/1.png",
        "shipped/plain_mlp-digits.json",
    ):
        (folder / name).write_text("text")
    np.save(folder / "good.npy", np.zeros(3))
    np.save(folder / "pickled.npy", np.array([{}]), allow_pickle=True)
    before = content(folder)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=json.dumps(list(LINES.values())),
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "KERAS_SKIP_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert content(folder) == before
    return dict(zip(LINES, json.loads(done.stdout.splitlines()[-1]), strict=True))


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("line", LINES)
def test_what_is_wrong_is_told_before_keras_is_loaded(line, said):
    kind, _, message = said[line].partition(": ")
    assert kind in ("ValueError", "FileExistsError", "FileNotFoundError", "VerificationError"), said[line]
    wrong = message.startswith("Expected ") and "Received: " in message
    assert (wrong or " exists. Choose another " in message) and "\n" not in message
    assert (line.partition(" # ")[2] or line.split()[-1]) in message


def test_samples_of_another_kind_are_what_is_blamed(said):
    expected = "ValueError: Expected samples in a file that ends in .npy or .npz. Received: --samples there.txt"
    assert said["export net.keras --samples there.txt"] == expected


def test_every_command_is_among_them():
    assert COMMANDS - {words[0] for words in LINES.values()} == WITHOUT_PATHS
