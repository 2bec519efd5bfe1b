"""Counts the fields of a gRPC message in its wire format, since a field of two bytes can take a hundred in memory."""

from ..errors import RequestError

# No request needs more; numbers are packed into one field.
_MOST = 2**14
# The fields of a ModelInferRequest that are messages and can repeat: inputs, their contents, and outputs.
_MESSAGES: dict[int, dict] = {5: {5: {}}, 6: {}}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def check_fields(message: bytes) -> None:
    """Raises a RequestError if a message has more fields than any request needs; the parser refuses invalid ones."""
    left = [(0, len(message), _MESSAGES)]
    count = 0
    try:
        while left:
            at, end, messages = left.pop()
            while at < end:
                count += 1
                if count > _MOST:
                    raise RequestError(f"Expected at most {_MOST} fields in a message, numbers packed. Received: more")
                tag, at = _read_varint(message, at)
                kind, number = tag & 7, (tag & 0xFFFFFFFF) >> 3
                if kind == _VARINT:
                    _, at = _read_varint(message, at)
                elif kind == _BYTES:
                    length, at = _read_varint(message, at)
                    if number in messages:
                        left.append((at, min(at + length, end), messages[number]))
                    at += length
                else:
                    at += {_FIXED64: 8, _FIXED32: 4}.get(kind, 0)
    except IndexError:
        # The message ends too early, which the parser will refuse.
        return


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while (byte := data[at]) > 127:
        value |= (byte & 127) << shift
        shift, at = shift + 7, at + 1
        if shift > 63:
            raise IndexError
    return value | byte << shift, at + 1
