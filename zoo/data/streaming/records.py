"""Images in ArrayRecord files, as TensorFlow Datasets and others write them: each record is a `tf.train.Example` with

    image/encoded and image/class/label, or image and label

The label is a whole number, or the name of a class. label.labels.txt beside the files names numbered classes, one per
line. A label is known only after its record is read, so indexing takes as long as reading all files.
"""

from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from ..options import Progress
from .files import Files
from .listing import Listing, Scan, join_scans
from .patterns import parts_of, root_of

CLASS_NAMES = "label.labels.txt"
_IMAGE, _LABEL = ("image/encoded", "image"), ("image/class/label", "label")
_TOGETHER = 256  # records that are read at once
_OPEN = 256  # files


class Records(Files):
    """Encoded images in records; `offset` is the number of a record in its file."""

    def read(self, place: int) -> bytes:
        path = self.path(place)
        return _value(_parse(_open(path)[int(self._offset[place])], path), _IMAGE)

    def name(self, place: int) -> str:
        return f"{self.member(place)} of {self.path(place)!r}"

    def member(self, place: int) -> str:
        return f"record {int(self._offset[place])}"


def list_records(files: Sequence[Path], progress: Progress | None = None) -> Listing:
    """Lists the images of ArrayRecord files, in their order.

    Args:
        files: The files.
        progress: Called with how many files are done and how many there are.

    Raises:
        ValueError: If array-record or protobuf is not installed, if a file is damaged, or if the names of some files
            say a part and those of others do not.
    """
    root, names = root_of(files)

    def scan(number: int) -> Scan:
        found = _scan(files[number])
        if progress:
            progress(number + 1, len(files))
        return found

    listing = join_scans(root, names, parts_of(names), map(scan, range(len(files))), labelled=True, kind=Records)
    named = files[0].parent / CLASS_NAMES
    listing.class_names = named.read_text("utf-8").splitlines() if named.is_file() else None
    return listing


def _scan(file: Path) -> Scan:
    found, source = Scan(), _open(str(file))
    for start in range(0, len(source), _TOGETHER):
        places = range(start, min(start + _TOGETHER, len(source)))
        for place, record in zip(places, source.__getitems__(list(places)), strict=True):
            example = _parse(record, str(file))
            image, label = _value(example, _IMAGE), _value(example, _LABEL)
            if not isinstance(image, bytes) or label is None:
                found.faults.append(f"record {place} of {file.name!r} without {'a label' if image else 'an image'}")
                continue
            name = label.decode("utf-8", "replace") if isinstance(label, bytes) else str(label)
            found.add(str(place), (name,), place, len(image))
    return found


@lru_cache(_OPEN)
def _open(path: str) -> Any:
    try:
        from array_record.python.array_record_data_source import ArrayRecordDataSource
    except ImportError as error:
        raise ValueError(
            f"Expected array-record to be installed to read {path!r}: pip install array-record. Received: {error}"
        ) from None
    try:
        return ArrayRecordDataSource(path)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"Expected an undamaged ArrayRecord file. Received: {path!r} ({error})") from None


def _parse(record: bytes, path: str) -> Any:
    try:
        return _example().FromString(record).features.feature
    except Exception as error:  # protobuf's own DecodeError, which is another class in each of its versions
        raise ValueError(f"Expected records that are each a tf.train.Example. Received: {path!r} ({error})") from None


def _value(features: Any, names: Sequence[str]) -> Any:
    """The value of the first of these features that exists; None if none does, or it has not exactly one value."""
    for name in names:
        if name in features:
            kind = features[name].WhichOneof("kind")
            values: Any = getattr(features[name], kind).value if kind else ()
            return values[0] if len(values) == 1 else None
    return None


@cache
def _example() -> Any:
    """The class of the message `tf.train.Example`, made without TensorFlow."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="keras_skip_example.proto", package="keras_skip", syntax="proto3")

    def message(name: str, *fields: tuple[int, Any, str]) -> Any:
        made = file.message_type.add(name=name)
        for number, (label, kind, called) in enumerate(fields, 1):
            about = {"type_name": f".keras_skip.{kind}"} if isinstance(kind, str) else {}
            kind = field.TYPE_MESSAGE if isinstance(kind, str) else kind
            made.field.add(name=called, number=number, label=label, type=kind, **about)
        return made

    one, many = field.LABEL_OPTIONAL, field.LABEL_REPEATED
    message("BytesList", (many, field.TYPE_BYTES, "value"))
    message("FloatList", (many, field.TYPE_FLOAT, "value"))
    message("Int64List", (many, field.TYPE_INT64, "value"))
    feature = message(
        "Feature", (one, "BytesList", "bytes_list"), (one, "FloatList", "float_list"), (one, "Int64List", "int64_list")
    )
    feature.oneof_decl.add(name="kind")
    for option in feature.field:
        option.oneof_index = 0
    features = message("Features", (many, "Features.FeatureEntry", "feature"))
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=one, type=field.TYPE_STRING)
    entry.field.add(name="value", number=2, label=one, type=field.TYPE_MESSAGE, type_name=".keras_skip.Feature")
    message("Example", (one, "Features", "features"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("keras_skip.Example"))
