"""ArrayRecord files of `tf.train.Example`, as TensorFlow writes them, are read without TensorFlow."""

import io
import pickle
import sys

import numpy as np
import pytest

import zoo
from tests.zoo.image_sets import encode
from tests.zoo.photo_sets import by_hand, photo

pytest.importorskip("array_record")
tf = pytest.importorskip("tensorflow")

pytestmark = pytest.mark.usefixtures("own_cache")
KEYS = {"tfds": ("image", "label"), "tensorflow": ("image/encoded", "image/class/label")}


def feature(value):
    if isinstance(value, bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))


def example(**values):
    made = {name: feature(value) for name, value in values.items()}
    return tf.train.Example(features=tf.train.Features(feature=made)).SerializeToString()


def write(path, records):
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(path), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()


def records(count, keys, first=0, label=lambda number: number % 2 + 1):
    for number in range(first, first + count):
        values = {keys[0]: encode(photo(number), "JPEG"), keys[1]: label(number), "file_name": b"x.jpg"}
        yield example(**values)


@pytest.fixture(params=KEYS)
def folder(tmp_path, request):
    keys = KEYS[request.param]
    write(tmp_path / "pets-train.array_record-00000-of-00002", records(5, keys))
    write(tmp_path / "pets-train.array_record-00001-of-00002", records(4, keys, 5))
    write(tmp_path / "pets-validation.array_record-00000-of-00001", records(3, keys, 9))
    return tmp_path


@pytest.mark.parametrize("pattern", ["", "pets-*.array_record-*"])
def test_records_are_photos(folder, pattern):
    source = zoo.load_source(folder / pattern, image_size=(24, 24), stream=True)
    expected = [by_hand(encode(photo(number), "JPEG"), 24) for number in range(12)]
    np.testing.assert_array_equal(source.train_inputs[:], expected[:9])
    np.testing.assert_array_equal(source.test_inputs[:], expected[9:])
    assert source.class_names == ("1", "2") and source.train_targets.tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 0]
    again = zoo.load_source(source.as_dict())
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(again.train_inputs))[6], expected[6])


def test_few_records_are_decoded_once(folder):
    cached, streamed = (zoo.load_source(folder, image_size=(24, 24), stream=stream) for stream in (None, True))
    assert isinstance(cached.train_inputs, np.memmap)
    np.testing.assert_array_equal(cached.train_inputs, streamed.train_inputs[:])


def test_classes_keep_the_order_of_their_numbers_and_get_their_names(folder):
    (folder / "label.labels.txt").write_text("none\nzebra\nant\n")
    source = zoo.load_source(folder, image_size=(24, 24), stream=True)
    assert source.class_names == ("zebra", "ant") and source.train_targets[:2].tolist() == [0, 1]


def test_labels_may_be_names(tmp_path):
    label = lambda number: b"dog" if number % 2 else b"cat"  # noqa: E731
    write(tmp_path / "all.array_record", records(8, KEYS["tfds"], label=label))
    assert zoo.load_source(tmp_path / "all.array_record", image_size=(24, 24), stream=True).class_names == (
        "cat",
        "dog",
    )


def test_faults_are_named_or_left_out(tmp_path):
    good = list(records(8, KEYS["tfds"]))
    image = encode(photo(0), "JPEG")
    broken = [*good, example(image=image), example(label=1), example(image=image[:300], label=1)]
    write(tmp_path / "all.array_record", broken)
    options = {"image_size": (24, 24), "stream": True}
    with pytest.raises(
        ValueError, match=r"2 faults: record 8 of 'all.*' without a label, record 9 .* without an image"
    ):
        zoo.load_source(tmp_path, **options)
    with pytest.warns(UserWarning, match="skipped, 3 in all: .* record 10 of '.*all.array_record' "):
        source = zoo.load_source(tmp_path, on_bad_image="skip", **options)
    assert len(source.train_targets) + len(source.test_targets) == 8


def test_other_files_and_records_are_refused(tmp_path, monkeypatch):
    write(tmp_path / "other.array_record", [b"\xff\xffno example"])
    with pytest.raises(ValueError, match="Expected records that are each a tf.train.Example"):
        zoo.load_source(tmp_path / "other.array_record", image_size=(24, 24))
    (tmp_path / "none.array_record").write_bytes(b"nothing" * 100)
    with pytest.raises(ValueError, match="Expected an undamaged ArrayRecord file. Received: '.*none.array_record'"):
        zoo.load_source(tmp_path / "none.array_record", image_size=(24, 24))
    monkeypatch.setitem(sys.modules, "array_record.python.array_record_data_source", None)
    (tmp_path / "third.array_record").write_bytes(b"")
    with pytest.raises(ValueError, match="Expected array-record to be installed to read .*pip install array-record"):
        zoo.load_source(tmp_path / "third.array_record", image_size=(24, 24))


@pytest.mark.filterwarnings("ignore:.*label:DeprecationWarning")
def test_tensorflow_datasets_are_streamed_from_their_records(tmp_path, monkeypatch):
    tfds = pytest.importorskip("tensorflow_datasets")
    made = {"train": range(6), "test": range(6, 10)}

    class StreamedPets(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            label = tfds.features.ClassLabel(names=["zebra", "ant"])
            return self.dataset_info_from_configs(
                features=tfds.features.FeaturesDict({"image": tfds.features.Image(), "label": label})
            )

        def _split_generators(self, manager):
            return {name: self._generate_examples(numbers) for name, numbers in made.items()}

        def _generate_examples(self, numbers):
            for number in numbers:
                yield number, {"image": io.BytesIO(encode(photo(number))), "label": number % 2}

    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path))
    source = zoo.load_source("tfds:streamed_pets", image_size=(24, 24), stream=True)
    assert source.name == "tfds:streamed_pets" and source.class_names == ("zebra", "ant")
    for part, numbers in made.items():
        expected = {(bytes(by_hand(encode(photo(number)), 24)), number % 2) for number in numbers}
        images, labels = getattr(source, f"{part}_inputs"), getattr(source, f"{part}_targets")
        assert {(bytes(image), label) for image, label in zip(images[:], labels.tolist(), strict=True)} == expected
    again = zoo.load_source(source.as_dict())
    assert again.fingerprint == source.fingerprint and again.train_inputs.shape == (6, 24, 24, 3)
