"""The layout of folders and archives of images: classes, parts, and what is refused."""

import numpy as np
import pytest

import zoo
from tests.zoo.image_sets import FORMS, as_folder, as_tar, as_zip, data_set, encode, load, pixels

pytestmark = pytest.mark.usefixtures("own_cache")


def tree(source):
    """Everything that training sees, to be compared."""
    return [
        np.asarray(getattr(source, f"{part}_{kind}")).tolist()
        for part in source.parts
        for kind in ("inputs", "targets")
    ]


@pytest.mark.parametrize("form", FORMS)
def test_train_and_test_folders_come_from_every_container(tmp_path, form):
    contents = data_set("train/", "test/")
    source = zoo.load_source(FORMS[form](tmp_path, contents))
    assert source.class_names == ("cat", "dog")
    assert source.parts == ("train", "test")
    np.testing.assert_array_equal(source.train_inputs, [pixels(seed) for seed in range(10)])
    np.testing.assert_array_equal(source.test_inputs, [pixels(seed) for seed in range(10, 20)])
    np.testing.assert_array_equal(source.train_targets, [0] * 5 + [1] * 5)


def test_a_folder_and_archives_of_it_in_any_order_are_the_same_data(tmp_path):
    contents = data_set(each=10)
    shuffled = dict(sorted(contents.items(), key=lambda item: hash(item[1])))
    sources = [load(form(tmp_path, shuffled)) for form in FORMS.values()]
    assert len({source.fingerprint for source in sources}) == 1
    assert all(tree(source) == tree(sources[0]) for source in sources)


@pytest.mark.parametrize("top", ["data/", "a/b/"])
def test_folders_around_the_data_make_no_difference(tmp_path, top):
    contents = {top + name: data for name, data in data_set("train/", "test/").items()}
    source = load(as_zip(tmp_path, contents))
    assert source.class_names == ("cat", "dog")
    assert len(source.test_inputs) == 10


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Val"])
def test_validation_stands_beside_test_or_in_its_place(tmp_path, name):
    beside = load(as_zip(tmp_path, data_set("train/", "test/", f"{name}/")))
    assert beside.parts == ("train", "validation", "test")
    np.testing.assert_array_equal(beside.validation_inputs, [pixels(seed) for seed in range(20, 30)])
    assert load(as_tar(tmp_path, data_set("train/", f"{name}/"))).parts == ("train", "test")


def test_without_a_split_a_part_of_each_class_is_for_testing(tmp_path):
    path = as_folder(tmp_path, data_set(each=10, classes=("a", "b", "c")))
    source = load(path)
    assert np.bincount(source.test_targets).tolist() == [2, 2, 2]
    assert np.bincount(source.train_targets).tolist() == [8, 8, 8]
    both = np.concatenate([source.train_inputs, source.test_inputs])
    assert sorted(map(bytes, both)) == sorted(bytes(pixels(seed)) for seed in range(30))
    assert tree(load(path)) == tree(source)
    assert tree(load(path, split_seed=1)) != tree(source)
    assert np.bincount(load(path, test_fraction=0.5).test_targets).tolist() == [5, 5, 5]


def test_classes_named_by_numbers_are_in_their_order(tmp_path):
    names = [str(number) for number in range(11)]
    assert load(as_folder(tmp_path, data_set(classes=names, each=2))).class_names == tuple(names)


def test_links_to_folders_are_followed_and_loops_end(tmp_path):
    path = as_folder(tmp_path, data_set())
    (tmp_path / "elsewhere").mkdir()
    (path / "dog").rename(tmp_path / "elsewhere" / "dog")
    (path / "dog").symlink_to(tmp_path / "elsewhere" / "dog")
    (path / "cat" / "again").symlink_to(path)
    assert np.bincount(load(path).train_targets).tolist() == [4, 4]


def test_hidden_files_and_files_that_are_no_images_are_left_out(tmp_path):
    extra = dict.fromkeys((".DS_Store", "cat/.DS_Store", "cat/._0.png", "dog/Thumbs.db", "README.txt"), b"?")
    extra |= {"__MACOSX/cat/._0.png": b"?", ".git/objects/a.png": b"?"}
    for form in FORMS.values():
        assert load(form(tmp_path, data_set() | extra)).class_names == ("cat", "dog")


LAYOUTS = {
    "Expected images in class folders.*without any image": {"README.txt": b""},
    "Expected every image of .* in a class folder.*10 outside of them, such as '0.png'": {
        f"{n}.png": encode(pixels(n)) for n in range(10)
    },
    "Expected only train/, test/ and validation/ in .* Received: train and extra": data_set("train/", "extra/"),
    "Expected the same classes in train and test of .*train without eel; test without dog": {
        **data_set("train/", classes=("cat", "dog")),
        **data_set("test/", classes=("cat", "eel")),
    },
    "Expected a part train in .*Received: only test": data_set("test/"),
    "Expected at least two examples of each class.*one of 'dog'": {
        **data_set(classes=("cat",)),
        "dog/0.png": encode(pixels(0)),
    },
}


@pytest.mark.parametrize("message", LAYOUTS)
def test_wrong_layouts_are_refused(tmp_path, message):
    with pytest.raises(ValueError, match=message):
        load(as_folder(tmp_path, LAYOUTS[message]))


@pytest.mark.parametrize("empty", ["eel", "train/eel", "test"])
def test_an_empty_class_or_part_is_refused(tmp_path, empty):
    path = as_folder(tmp_path, data_set() if empty == "eel" else data_set("train/"))
    (path / empty).mkdir()
    with pytest.raises(ValueError, match=f"Expected images in every class folder of .* Received: none in {empty}"):
        load(path)
