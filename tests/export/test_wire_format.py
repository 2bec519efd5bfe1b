"""Whatever way the place of weights is written into an ONNX file, it is found or the file is refused."""

import onnx
import pytest
from onnx import TensorProto, helper

from export import VerificationError
from export.storage.safety import _FIELDS, check_onnx_file

BYTES = 2


def varint(value: int, more: int = 0) -> bytes:
    """A number, in more bytes than it takes if asked to."""
    digits = []
    while value > 127 or more > 0:
        more -= value <= 127
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])


def field(number: int, content: bytes, tag: bytes | None = None, more: int = 0) -> bytes:
    return (tag or varint(number << 3 | BYTES)) + varint(len(content), more) + content


def entry(key: bytes, value: bytes) -> bytes:
    return field(1, key) + field(2, value)


PLACE = entry(b"location", b"elsewhere.bin")
# GraphProto.initializer = 5, ModelProto.graph = 7
TENSOR = varint(1 << 3) + varint(4) + varint(2 << 3) + varint(1)


def model(place: bytes) -> bytes:
    return field(7, field(5, TENSOR + place))


TAG = varint(13 << 3 | BYTES)
REFUSED = {
    "a tag with surplus bits": field(13, PLACE, tag=bytes([TAG[0] | 128, 128, 128, 128, 16])),
    "a tag of ten bytes": field(13, PLACE, tag=bytes([TAG[0] | 128, *[128] * 8, 1])),
    "a tag in two bytes": field(13, PLACE, tag=bytes([TAG[0] | 128, 0])),
    "a length in two bytes": field(13, PLACE, more=1),
    "a length in ten bytes": field(13, PLACE, more=9),
    "a length beyond the end": TAG + varint(2**31 - 1) + PLACE,
    "a length beyond 32 bits": TAG + varint(2**32 + len(PLACE)) + PLACE,
    "a group": bytes([13 << 3 | 3]) + PLACE + bytes([13 << 3 | 4]),
    "the end of a group": bytes([13 << 3 | 4]) + field(13, PLACE),
    "field 0": bytes([0, 0]) + field(13, PLACE),
    "an unknown kind": bytes([15 << 3 | 6]) + field(13, PLACE),
    "no text": field(13, entry(b"location", b"\xff")),
    "a key twice": field(13, entry(b"offset", b"elsewhere.bin") + field(1, b"location")),
    "a value twice": field(13, entry(b"location", b"model.onnx") + field(2, b"elsewhere.bin")),
    "no value": field(13, field(1, b"location")),
    "an empty value": field(13, entry(b"location", b"")),
    "two places": field(13, entry(b"location", b"model.onnx")) + field(13, PLACE),
    "behind an unknown field": field(1000, b"x" * 300) + field(13, PLACE),
    "behind an empty field": field(8, b"") + field(13, PLACE),
    "behind fixed numbers": bytes([30 << 3 | 5]) + b"1234" + bytes([30 << 3 | 1]) + b"12345678" + field(13, PLACE),
    "a memory address": field(13, entry(b"location", b"*/_ORT_MEM_ADDR_/*")),
}


@pytest.mark.parametrize("place", REFUSED.values(), ids=REFUSED)
def test_a_place_elsewhere_is_found_or_the_file_refused(place, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(model(place))
    with pytest.raises(VerificationError):
        check_onnx_file(path)


@pytest.mark.parametrize("content", [b"\0\0", bytes([8 << 3 | 3, 8 << 3 | 4]), b"\x0a", b"\x0a\x05abc"])
def test_what_is_no_message_is_refused(content, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(model(content))
    with pytest.raises(VerificationError, match="Expected .* to be an ONNX file"):
        check_onnx_file(path)


def test_a_plain_file_beside_is_found(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(model(field(13, PLACE)))
    (tmp_path / "elsewhere.bin").write_bytes(b"1234")
    assert check_onnx_file(path) == [tmp_path / "elsewhere.bin"]


def external() -> TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="elsewhere.bin")
    return tensor


def inside(**attribute) -> onnx.NodeProto:
    node = onnx.NodeProto(op_type="If")
    node.attribute.append(onnx.AttributeProto(name="a", **attribute))
    return node


GRAPH = onnx.GraphProto(initializer=[external()])
SPARSE = onnx.SparseTensorProto(values=external(), dims=[1])
NODES = {
    "tensor": inside(t=external()),
    "tensors": inside(tensors=[external()]),
    "graph": inside(g=GRAPH),
    "graphs": inside(graphs=[GRAPH]),
    "sparse": inside(sparse_tensor=SPARSE),
    "sparse indices": inside(sparse_tensors=[onnx.SparseTensorProto(indices=external())]),
    "graph in a graph": inside(g=onnx.GraphProto(node=[inside(g=GRAPH)])),
}
MODELS = {
    **{f"a node's {name}": onnx.ModelProto(graph=onnx.GraphProto(node=[node])) for name, node in NODES.items()},
    **{f"a function's {name}": onnx.ModelProto(functions=[onnx.FunctionProto(node=[n])]) for name, n in NODES.items()},
    "a default of a function": onnx.ModelProto(
        functions=[onnx.FunctionProto(attribute_proto=[onnx.AttributeProto(name="a", t=external())])]
    ),
    "an initializer": onnx.ModelProto(graph=GRAPH),
    "a sparse initializer": onnx.ModelProto(graph=onnx.GraphProto(sparse_initializer=[SPARSE])),
    "training": onnx.ModelProto(training_info=[onnx.TrainingInfoProto(algorithm=GRAPH)]),
    "the start of training": onnx.ModelProto(training_info=[onnx.TrainingInfoProto(initialization=GRAPH)]),
}


@pytest.mark.parametrize("holder", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("merged", [False, True])
def test_weights_are_found_wherever_a_model_may_hold_them(holder, merged, tmp_path):
    path = tmp_path / "model.onnx"
    # Parsers merge a message that comes twice.
    other = onnx.ModelProto(graph=onnx.GraphProto(node=[helper.make_node("Relu", ["x"], ["y"])])).SerializeToString()
    path.write_bytes(other * merged + holder.SerializeToString() + other * merged)
    with pytest.raises(VerificationError, match="elsewhere.bin"):
        check_onnx_file(path)


def test_every_field_that_may_lead_to_a_tensor_is_walked():
    messages = {}

    def collect(message):
        if message.name not in messages:
            messages[message.name] = {f.number: f.message_type for f in message.fields if f.message_type}
            for inner in messages[message.name].values():
                collect(inner)

    collect(onnx.ModelProto.DESCRIPTOR)
    leading, grown = {"TensorProto"}, True
    while grown:
        more = {name for name, inner in messages.items() if any(m.name in leading for m in inner.values())}
        grown = not more <= leading
        leading |= more
    wanted = {
        name: {number for number, message in messages[name].items() if message.name in leading} for name in leading
    }
    wanted["TensorProto"] = {onnx.TensorProto.DESCRIPTOR.fields_by_name["external_data"].number}
    kinds = {"ModelProto": "model", "TrainingInfoProto": "training", "SparseTensorProto": "sparse"}
    walked = {name: set(_FIELDS[kinds.get(name, name.removesuffix("Proto").lower())]) for name in wanted}
    assert walked == wanted
