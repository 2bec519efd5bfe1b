"""Archives that are damaged or made to harm, and a real one."""

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export import archives
from tests.zoo.image_sets import FORMS, as_tar, data_set, encode, load, pixels

pytestmark = pytest.mark.usefixtures("own_cache")


CIFAR10 = Path(os.environ.get("KERAS_SKIP_DATA", Path(__file__).parents[3] / "shared" / "data")) / "cifar10.tar.xz"


@pytest.mark.parametrize("name", ["../cat/0.png", "/cat/0.png", "cat/../../0.png", "C:\\cat\\0.png"])
@pytest.mark.parametrize("form", ["tar", "zip"])
def test_paths_that_lead_out_of_an_archive_are_refused(tmp_path, form, name):
    path = FORMS[form](tmp_path, data_set() | {name: encode(pixels(0))})
    with pytest.raises(ValueError, match="Expected paths inside .* which leads out of it"):
        load(path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    path = as_tar(tmp_path, data_set())
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo("dog/9.png")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(ValueError, match="Expected files and folders in .*'dog/9.png', a link or a device"):
        load(path)


@pytest.mark.parametrize("form", ["tar", "zip"])
def test_a_file_that_would_fill_the_memory_is_not_read(tmp_path, form, monkeypatch):
    monkeypatch.setattr(archives, "LARGEST", 100_000)
    path = FORMS[form](tmp_path, data_set() | {"dog/bomb.png": bytes(1_000_000)})
    with pytest.raises(ValueError, match=r"dog/bomb.png \(1,000,000 bytes, too large for an image\)"):
        load(path)


@pytest.mark.parametrize("form", ["tar", "tar.gz", "tar.xz", "zip"])
@pytest.mark.parametrize("share", [0, 0.3, 0.8])
def test_a_truncated_archive_is_refused(tmp_path, form, share):
    path = FORMS[form](tmp_path, data_set(each=40))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ValueError, match="Expected a whole archive"):
        load(path)


def test_an_archive_that_is_none_is_refused(tmp_path):
    for name in ("images.tar", "images.zip"):
        (tmp_path / name).write_bytes(b"hello" * 1000)
        with pytest.raises(ValueError, match="Expected a whole archive"):
            load(tmp_path / name)


@pytest.mark.skipif(not CIFAR10.exists(), reason="no cifar10.tar.xz in KERAS_SKIP_DATA or ../shared/data")
def test_the_first_images_of_a_real_archive(tmp_path):
    """Its first members, dealt out to two classes: to read as far as the second takes longer than a test may."""
    first = {}
    with tarfile.open(CIFAR10, "r|xz") as archive:
        for member in archive:
            if member.isfile():
                kind = ("airplane", "plane")[len(first) % 2]
                first[member.name.replace("train/airplane", kind)] = archive.extractfile(member).read()
            if len(first) == 300:
                break
    source = load(as_tar(tmp_path, first))
    assert source.input_shape == (32, 32, 3)
    assert source.class_names == ("airplane", "plane")
    assert (len(source.train_inputs), len(source.test_inputs)) == (240, 60)
    name = sorted(first)[0]
    expected = np.asarray(Image.open(io.BytesIO(first[name])))
    assert any(np.array_equal(image, expected) for image in [*source.train_inputs, *source.test_inputs])
