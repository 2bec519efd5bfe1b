"""A training on streamed photos that is killed in the middle of epochs ends with the weights of one that is not."""

import zoo
from benchmarks.training.killed import are_same, make_photos, train_twice
from tests.processes import start_command


def test_photos_train_to_the_same_weights_however_often_they_are_killed(tmp_path, monkeypatch):
    monkeypatch.delenv("KERAS_SKIP_DATA", raising=False)
    make_photos(tmp_path / "photos", 300)
    command = ["train", "resnet20_digits", "--data", "photos", "--stream", "--image-size", "32", "--epochs", "2"]
    command += ["--batch-size", "16", "--checkpoint-steps", "4", "--set", "arguments.depth=8"]
    command += ["--set", "augment.crop_area=(0.3,1.0)", "--set", "augment.flip=True", "--set", "augment.pad=0"]

    def start(*arguments):
        return start_command(*arguments, cwd=tmp_path, KERAS_SKIP_CACHE=str(tmp_path / "cache"), KERAS_SKIP_WORKERS="2")

    # Of 240 photos to train on an epoch has 15 batches.
    left = train_twice(start, command, tmp_path, [4, 19], 15)
    assert left == []
    assert [one["batch"] > 0 for one in zoo.open_run(tmp_path / "killed").record["resumed"]] == [True, True]
    assert are_same(tmp_path)
