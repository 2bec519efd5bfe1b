"""Tar shards: listed as tarfile lists them, labelled or in class folders, and every fault named or left out."""

import io
import json
import tarfile

import numpy as np
import pytest

import zoo
from tests.zoo.image_sets import encode
from tests.zoo.photo_sets import as_class_folders, by_hand, labelled, photo, write_tar
from zoo.data.streaming import source as streaming
from zoo.data.streaming.patterns import find_shards, parts_of
from zoo.data.streaming.photos import Photos
from zoo.data.streaming.tars import BrokenTar, Window, list_members

pytestmark = pytest.mark.usefixtures("own_cache")


def stream(path, **options):
    return zoo.load_source(path, image_size=(24, 24), stream=True, **options)


def own_list(data):
    return [tuple(member) for member in list_members(Window(io.BytesIO(data)), 0, len(data))]


@pytest.fixture
def shards(tmp_path):
    """Two shards for training and one for validation."""
    write_tar(tmp_path / "train-000.tar", labelled(6))
    write_tar(tmp_path / "train-001.tar", labelled(6, first=6))
    write_tar(tmp_path / "val-000.tar", labelled(4, first=12))
    return tmp_path


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("mtime", [0, 1.5, -3])
def test_members_are_those_of_tarfile(tmp_path, form, mtime):
    names = ["a.jpg", "x" * 100, "folder/" + "y" * 99, "long/" * 20 + "z.jpg", "sub/ümläut.jpg", "empty"]
    if form != tarfile.USTAR_FORMAT:
        names += ["n" * 300 + ".jpg", "deep/" * 80 + "0.jpg"]
    elif mtime != 0:
        pytest.skip("USTAR has no such times")
    contents = [(name, b"0123456789" * number * 37) for number, name in enumerate(names)]
    data = write_tar(tmp_path / "a.tar", contents, form, mtime).read_bytes()
    with tarfile.open(tmp_path / "a.tar") as archive:
        expected = [(member.name, member.offset_data, member.size) for member in archive]
    assert own_list(data) == expected
    for (_, content), (_, offset, size) in zip(contents, own_list(data), strict=True):
        assert data[offset : offset + size] == content


def test_folders_sizes_of_eight_bytes_and_shared_records_are_understood(tmp_path):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "shared"}) as archive:
        folder = tarfile.TarInfo("./cats")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        member = tarfile.TarInfo("./cats/0.jpg")
        member.size = 3
        archive.addfile(member, io.BytesIO(b"cat"))
    data = bytearray(out.getvalue())
    ((_, _, minus), (name, offset, size)) = own_list(bytes(data))
    assert (minus, name, size, data[offset : offset + 3]) == (-1, "cats/0.jpg", 3, b"cat")
    header = data[offset - 512 : offset]
    header[124:136] = b"\x80" + (3).to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    data[offset - 512 : offset] = header
    assert own_list(bytes(data))[1] == ("cats/0.jpg", offset, 3)


def test_a_tar_that_is_cut_or_damaged_anywhere_is_broken(tmp_path):
    data = write_tar(tmp_path / "a.tar", [("a", b"1" * 700), ("b", b"2" * 10)]).read_bytes()
    whole = own_list(data)
    end = 512 + 1024 + 512 + 512 + 512  # two headers, three blocks of content, and a block of the end
    for length in range(0, end, 101):
        with pytest.raises(BrokenTar, match="cut short"):
            own_list(data[:length])
    assert own_list(data[:end]) == whole
    for place in (0, 110, 130, 150, 257, 1536):
        damaged = bytearray(data)
        damaged[place] ^= 1
        with pytest.raises(BrokenTar, match="no header of a member at byte"):
            own_list(bytes(damaged))
    negative = tarfile.TarInfo("a").tobuf().replace(b"0" * 11 + b"\0", b"-0000000777\0", 1)
    negative = negative[:148] + b"%06o\0 " % sum(negative[:148] + b" " * 8 + negative[156:]) + negative[156:]
    with pytest.raises(BrokenTar, match="no header of a member at byte 0"):
        own_list(negative + bytes(1024))
    for size in ("abc", "-512"):
        member = tarfile.TarInfo("a")
        member.pax_headers = {"size": size}
        with pytest.raises(BrokenTar, match="damaged records of a member at byte 512"):
            own_list(member.tobuf(tarfile.PAX_FORMAT) + bytes(1024))
    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with pytest.raises(BrokenTar, match="'link' is a link or a device"):
        own_list(link.tobuf() + bytes(1024))


@pytest.mark.parametrize("name", ["", "*.tar", "{train-{000..001},val-000}.tar"])
def test_shards_are_a_folder_or_a_pattern_and_their_names_say_the_part(shards, name):
    source = stream(shards / name)
    assert source.class_names == ("cat", "dog")
    assert source.train_targets.tolist() == [0, 1] * 6 and source.test_targets.tolist() == [0, 1] * 2
    expected = [by_hand(encode(photo(number), "JPEG"), 24) for number in range(16)]
    np.testing.assert_array_equal(source.train_inputs[:], expected[:12])
    np.testing.assert_array_equal(source.test_inputs[:], expected[12:])
    again = zoo.load_source(source.as_dict())
    assert again.fingerprint == source.fingerprint
    np.testing.assert_array_equal(again.test_inputs[:], expected[12:])


def test_few_shards_are_decoded_once(shards, monkeypatch):
    cached = zoo.load_source(shards, image_size=(24, 24))
    assert not isinstance(cached.train_inputs, Photos)
    streamed = stream(shards)
    np.testing.assert_array_equal(cached.train_inputs, streamed.train_inputs[:])
    np.testing.assert_array_equal(cached.test_targets, streamed.test_targets)
    monkeypatch.setattr("zoo.data.streaming.decoded.decode", None)
    again = zoo.load_source(cached.as_dict())
    assert again.fingerprint == cached.fingerprint and not isinstance(again.train_inputs, Photos)


def test_numbered_classes_are_in_the_order_of_their_numbers(tmp_path):
    write_tar(tmp_path / "all.tar", labelled(22, classes=range(11)))
    source = stream(tmp_path / "all.tar", test_fraction=0.5)
    assert source.class_names == tuple(map(str, range(11)))
    assert sorted(source.train_targets) == sorted(source.test_targets) == list(range(11))


@pytest.mark.parametrize("label", [3, "cat"])
def test_labels_may_be_in_json(tmp_path, label):
    members = []
    for number in range(8):
        about = {"label": label if number % 2 else 1, "width": 56}
        members += [(f"k/{number}.PNG", encode(photo(number))), (f"k/{number}.json", json.dumps(about).encode())]
        members += [(f"k/{number}.txt", b"a caption")]
    write_tar(tmp_path / "all.tar", members)
    assert stream(tmp_path / "all.tar").class_names == ("1", str(label))


def as_tars(path, contents, how):
    """The same class folders as one tar, a tar for each part, for each class, or a tar of tars."""
    if how == "one":
        write_tar(path / "pets.tar", [(f"./pets/{name}", data) for name, data in contents.items()])
    elif how == "parts":
        for part in ("train", "val"):
            members = [(f"pets/{n.partition('/')[2]}", d) for n, d in contents.items() if n.startswith(part)]
            write_tar(path / f"pets_{part}.tar", members)
    elif how == "folders":
        for part in ("train", "val"):
            for kind in ("cat", "dog"):
                some = [(n.partition("/")[2], d) for n, d in contents.items() if n.startswith(f"{part}/{kind}")]
                write_tar(path / part / f"{kind}-0.tar", some)
    else:
        for part in ("train", "val"):
            tars = []
            for kind in ("cat", "dog"):
                some = [(n.rpartition("/")[2], d) for n, d in contents.items() if n.startswith(f"{part}/{kind}")]
                tars.append((f"{kind}.tar", write_tar(path.parent / "inner.tar", some).read_bytes()))
            write_tar(path / f"ILSVRC2012_img_{part}.tar", tars)
    return path / "pets.tar" if how == "one" else path


@pytest.mark.parametrize("how", ["one", "parts", "folders", "nested"])
@pytest.mark.parametrize("streamed", [True, False])
def test_class_folders_in_tars_are_those_on_disk(tmp_path, how, streamed):
    contents = as_class_folders(tmp_path / "on disk")
    (tmp_path / "tars").mkdir()
    path = as_tars(tmp_path / "tars", contents, how)
    source = zoo.load_source(path, image_size=(24, 24), stream=streamed)
    assert isinstance(source.train_inputs, Photos) is streamed and source.class_names == ("cat", "dog")
    expected = zoo.load_source(tmp_path / "on disk", image_size=(24, 24))
    for part in ("train", "test"):
        np.testing.assert_array_equal(getattr(source, f"{part}_inputs")[:], getattr(expected, f"{part}_inputs"))
        np.testing.assert_array_equal(getattr(source, f"{part}_targets"), getattr(expected, f"{part}_targets"))


FAULTS = {
    "cut short": (lambda members: members, r"'train-000.tar' \(cut short in '0003.jpg'\)"),
    "duplicate": (lambda members: members + members[2:4], r"'train-000.tar' \('0001.jpg' twice\)"),
    "two images": (
        lambda members: [*members[:1], ("0000.png", b""), *members[1:]],
        "'0000.jpg' and '0000.png' for one key",
    ),
    "no label": (lambda members: members[:5] + members[6:], r"'train-000.tar' \('0002.jpg' without a label\)"),
    "no image": (lambda members: members[:4] + members[5:], r"'train-000.tar' \(a label without an image for '0002'\)"),
    "empty label": (lambda members: [*members[:5], ("0002.cls", b" "), *members[6:]], "'0002.jpg' without a label"),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("streamed", [True, False])
def test_faults_are_one_sentence_or_left_out_and_counted(tmp_path, name, streamed):
    change, message = FAULTS[name]
    shard = write_tar(tmp_path / "train-000.tar", change(list(labelled(8))))
    if name == "cut short":
        with tarfile.open(shard) as archive:
            third = archive.getmember("0003.jpg").offset_data
        shard.write_bytes(shard.read_bytes()[: third + 100])
    write_tar(tmp_path / "val-000.tar", labelled(4))
    options = {"image_size": (24, 24), "stream": streamed}
    with pytest.raises(ValueError, match=f"on_bad_image='skip'.*Received: 1 .*{message}") as caught:
        zoo.load_source(tmp_path, **options)
    assert "\n" not in str(caught.value)
    with pytest.warns(UserWarning, match=f"skipped, 1 in all: .*{message}"):
        source = zoo.load_source(tmp_path, on_bad_image="skip", **options)
    left = {"cut short": [0, 1, 2], "duplicate": range(8), "two images": range(8)}.get(name, [0, 1, 3, 4, 5, 6, 7])
    expected = [by_hand(encode(photo(number), "JPEG"), 24) for number in left]
    np.testing.assert_array_equal(source.train_inputs[:], expected)
    assert source.train_targets.tolist() == [number % 2 for number in left] and source.origin["skipped"] == 1


@pytest.mark.parametrize("content", [b"", bytes(1024)], ids=["0 bytes", "no members"])
def test_the_first_shard_may_be_empty(tmp_path, content):
    write_tar(tmp_path / "train-001.tar", labelled(6))
    write_tar(tmp_path / "val-000.tar", labelled(4))
    expected = stream(tmp_path)
    (tmp_path / "train-000.tar").write_bytes(content)
    if not content:
        with pytest.raises(
            ValueError, match=r"Received: 1 fault: 'train-000.tar' \(cut short, without an end marker\)"
        ):
            stream(tmp_path)
        with pytest.warns(UserWarning, match="skipped, 1 in all: 'train-000.tar'"):
            found = stream(tmp_path, on_bad_image="skip")
    else:
        found = stream(tmp_path)
    np.testing.assert_array_equal(found.train_inputs[:], expected.train_inputs[:])
    assert found.train_targets.tolist() == [0, 1] * 3 and found.class_names == ("cat", "dog")


@pytest.mark.parametrize("streamed", [True, False])
def test_a_damaged_image_is_named_with_its_shard(shards, streamed):
    members = list(labelled(6))
    members[4] = "0002.jpg", members[4][1][:200]
    write_tar(shards / "train-000.tar", members)
    options = {"image_size": (24, 24), "stream": streamed}
    with pytest.raises(ValueError, match="'?0002.jpg'? .*"):
        zoo.load_source(shards, **options)
    if streamed:
        with pytest.raises(ValueError, match="Received: '0002.jpg' in '.*train-000.tar' "):
            zoo.load_source(shards, **options)
    with pytest.warns(UserWarning, match="0002.jpg"):
        source = zoo.load_source(shards, on_bad_image="skip", **options)
    assert len(source.train_inputs) == 11 and source.train_targets.tolist() == [0, 1, 1] + [0, 1] * 4


def test_a_changed_shard_is_listed_again(shards):
    before = stream(shards)
    write_tar(shards / "train-001.tar", labelled(8, first=6))
    after = stream(shards)
    assert len(after.train_targets) == 14 and after.fingerprint != before.fingerprint
    with pytest.raises(ValueError, match="which has changed since"):
        zoo.load_source(before.as_dict())
    write_tar(shards / "train-001.tar", labelled(8, first=6, classes=("dog", "cat")))
    assert stream(shards).fingerprint != after.fingerprint


def test_names_of_shards_say_parts():
    assert parts_of(["a-train-00.tar", "val/0.tar", "x/ILSVRC2012_img_val.tar"]) == [
        "train",
        "validation",
        "validation",
    ]
    assert parts_of(["train/test-0.tar", "train/1.tar"]) == ["test", "train"]
    assert parts_of(["0.tar", "trainer.tar"]) == parts_of(["train0.tar", "train1.tar"]) == ["", ""]
    with pytest.raises(ValueError, match=r"or none of them. Received: 'b.tar' beside 'train.tar'"):
        parts_of(["train.tar", "b.tar"])


def test_patterns_that_match_nothing_or_no_shard_are_refused(shards):
    for pattern, message in {
        "none-*.tar": "which matches none",
        "{trian,val}-*.tar": r"of which '.*trian-\*.tar' matches none",
        "train-{000..002}.tar": r"train-002.tar', no such file",
    }.items():
        with pytest.raises(ValueError, match=f"Expected a pattern .*{message}"):
            zoo.load_source(shards / pattern)
    names = [path.name for path in find_shards(shards / "{val,train}-000.tar")]
    assert names == ["val-000.tar", "train-000.tar"]


def test_shards_of_a_single_part_are_split_or_measured_whole(shards):
    trained = stream(shards / "train-*.tar")
    assert (len(trained.train_targets), len(trained.test_targets)) == (10, 2)
    other = stream(shards / "val-*.tar", like=trained.as_dict())
    assert other.test_targets.tolist() == [0, 1, 0, 1]


def test_only_headers_are_read(shards, monkeypatch):
    big = [(name, data + bytes(10**6) if name.endswith("jpg") else data) for name, data in labelled(4)]
    path = write_tar(shards / "big" / "a.tar", big)
    read = []
    with path.open("rb", buffering=0) as file:
        wanted = type("Counting", (), {"seek": file.seek, "read": lambda self, n: read.append(n) or file.read(n)})()
        assert len(list(list_members(Window(wanted), 0, path.stat().st_size))) == 8
    assert sum(read) < 40_000
    assert streaming.LIMIT == 4 * 2**30


@pytest.mark.parametrize("in_folders", [False, True])
def test_what_is_too_large_for_an_image_is_left_out(tmp_path, monkeypatch, in_folders):
    members = list(as_class_folders(tmp_path / "photos").items() if in_folders else labelled(6))
    largest = max(len(content) for _, content in members)
    over = sum(len(content) == largest for _, content in members)
    monkeypatch.setattr("zoo.data.streaming.shards.LARGEST", largest - 1)
    shard = write_tar(tmp_path / "all.tar", members)
    with pytest.raises(ValueError, match=rf"{over} fault.* of {largest:,} bytes, too large for an image"):
        stream(shard)
