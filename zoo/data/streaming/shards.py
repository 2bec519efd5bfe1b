"""Lists the images of tar shards: by their labels, as webdataset has them, or by class folders.

    KEY.jpg with KEY.cls, a whole number or the name of a class, or with KEY.json, in which "label" is that
    CLASS/NAME.jpg, also in train/ and test/; CLASS.tar is a tar of images in place of a folder

KEY is the name up to the first dot. The files of a key are adjacent, and no key occurs twice in a shard.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path

from export.archives import LARGEST, is_hidden
from export.images import SUFFIXES

from ..options import Progress
from .listing import Listing, Scan, join_scans
from .patterns import TAR, parts_of, root_of
from .tars import BLOCK, BrokenTar, Member, Window, list_members

_IMAGES = frozenset(suffix[1:] for suffix in SUFFIXES)
_LABELS = ("cls", "json")
_PEEKED = 1000  # members of a shard that show whether there are labels
_THREADS = 4
_LARGEST_LABEL = 2**20


def list_shards(shards: Sequence[Path], progress: Progress | None = None) -> Listing:
    """Lists the images of shards, in their order.

    Args:
        shards: The files.
        progress: Called with how many bytes are done and how many there are.

    Raises:
        ValueError: If the names of some shards say a part and those of others do not.
    """
    root, names = root_of(shards)
    parts = parts_of(names)
    labelled = _are_labelled(shards)
    scan = _scan_labelled if labelled else _scan_folders

    def scans() -> Iterator[Scan]:
        total, done = sum(shard.stat().st_size for shard in shards), 0
        with ThreadPoolExecutor(_THREADS) as pool:
            for shard, found in zip(shards, pool.map(lambda shard: _scan(shard, scan), shards), strict=True):
                done += shard.stat().st_size
                if progress:
                    progress(done, total)
                yield found

    return join_scans(root, names, parts, scans(), labelled)


def _are_labelled(shards: Sequence[Path]) -> bool:
    """Whether the first shard that is undamaged and not empty has labels, or a damaged one before it."""
    for shard in shards:
        holds_files = False
        with suppress(BrokenTar), shard.open("rb", buffering=0) as file:
            for member in islice(list_members(Window(file), 0, shard.stat().st_size), _PEEKED):
                if _split(member.name)[1] in _LABELS:
                    return True
                holds_files |= member.size >= 0
            if holds_files:
                return False
    return False


def _scan(shard: Path, scan: Callable[[Scan, Window, int], None]) -> Scan:
    found = Scan()
    with shard.open("rb", buffering=0) as file:
        window = Window(file)
        try:
            scan(found, window, shard.stat().st_size)
        except BrokenTar as error:
            found.faults.append(str(error))
        for place in (again := found.repeated()):
            header = window.read(found.offsets[place] - BLOCK, BLOCK)
            found.faults.append(f"{header[:100].partition(bytes(1))[0].decode('utf-8', 'replace')!r} twice")
    found.drop(again)
    found.faults = [f"{shard.name!r} ({fault})" for fault in found.faults]
    return found


def _scan_labelled(found: Scan, window: Window, end: int) -> None:
    current, files = "", dict[str, tuple[Member, bytes]]()
    try:
        for member in list_members(window, 0, end):
            key, kind = _split(member.name)
            kind = "image" if kind in _IMAGES else kind
            if member.size < 0 or (kind != "image" and kind not in _LABELS) or is_hidden(member.name):
                continue
            if key != current:
                _add_labelled(found, current, files)
                current, files = key, {}
            if kind in files:
                found.faults.append(f"{files[kind][0].name!r} and {member.name!r} for one key")
            else:
                # A label is close to its header, which was just read.
                content = b"" if kind == "image" else window.read(member.offset, min(member.size, _LARGEST_LABEL))
                files[kind] = member, content
    except BrokenTar:
        # The last key may have lost files with the end of the shard.
        if "image" in files and _label(files) is not None:
            _add_labelled(found, current, files)
        raise
    _add_labelled(found, current, files)


def _add_labelled(found: Scan, key: str, files: dict[str, tuple[Member, bytes]]) -> None:
    """Adds the image of a key with its label, or notes what is missing."""
    image = files["image"][0] if "image" in files else None
    label = _label(files)
    if image is None:
        if label is not None:
            found.faults.append(f"a label without an image for {key!r}")
    elif label is None:
        found.faults.append(f"{image.name!r} without a label")
    else:
        _add(found, key, (label,), image)


def _add(found: Scan, key: str, holder: tuple[str, ...], image: Member) -> None:
    """Adds an image, unless it is too large to be one."""
    if image.size > LARGEST:
        found.faults.append(f"{image.name!r} of {image.size:,} bytes, too large for an image")
    else:
        found.add(key, holder, image.offset, image.size)


def _label(files: dict[str, tuple[Member, bytes]]) -> str | None:
    """The class that the files of a key say; None if they say none."""
    if "cls" in files:
        return files["cls"][1].decode("utf-8", "replace").strip() or None
    if "json" not in files:
        return None
    try:
        label = json.loads(files["json"][1])["label"]
    except (ValueError, KeyError, TypeError):
        return None
    return str(label) if isinstance(label, (int, str)) and not isinstance(label, bool) else None


def _scan_folders(found: Scan, window: Window, end: int) -> None:
    for name, offset, size in _walk(window, "", 0, end):
        holder, _, base = name.rpartition("/")
        if size >= 0 and base.rpartition(".")[2].lower() in _IMAGES and not is_hidden(name):
            _add(found, name, tuple(holder.split("/")) if holder else (), Member(name, offset, size))


def _walk(window: Window, folder: str, start: int, end: int) -> Iterator[Member]:
    """Lists the members of a tar, and those of tars in it as if they were folders."""
    for member in list_members(window, start, end):
        name = folder + member.name
        if member.size >= 0 and name.lower().endswith(TAR):
            yield from _walk(window, name[: -len(TAR)] + "/", member.offset, member.offset + member.size)
        else:
            yield Member(name, member.offset, member.size)


def _split(name: str) -> tuple[str, str]:
    """The key of a name, and what follows its first dot."""
    dot = name.find(".", name.rfind("/") + 1)
    return (name, "") if dot < 0 else (name[:dot], name[dot + 1 :].lower())
