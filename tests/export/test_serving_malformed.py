"""Whatever a client sends, the answer is never a failure of the server."""

import contextlib
import http.client
import json

import pytest

pytest.importorskip("starlette", reason="the extra serve is not installed")
hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from tests.export.server import PATIENCE, content, images  # noqa: E402

REPEATABLE = settings(max_examples=150, deadline=None, database=None, derandomize=True)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
)
WORDS = st.sampled_from(
    ["", "BYTES", "FP32", "probabilities", "shape", "data", [[]], [[[[]]]], {}, 2**63, -1, 1e400, 0]
)
HEADERS = st.none() | st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=8)


def valid():
    return content(images(1), id="x", parameters={"binary_data_output": False}, outputs=[{"name": "probabilities"}])


def places(value, path=()):
    """The path to every part of a JSON value, of long lists to a few."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for index in {0, 1, len(value) - 1} & set(range(len(value))):
            yield from places(value[index], (*path, index))


@st.composite
def nearly_valid(draw):
    """A valid request with one to three of its parts replaced, removed or repeated."""
    request = valid()
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(sorted((path for path in places(request) if path), key=str)))
        owner = request
        for key in path[:-1]:
            owner = owner[key]
        match draw(st.sampled_from(["replace", "remove", "repeat"])):
            case "replace":
                owner[path[-1]] = draw(VALUES | WORDS)
            case "remove":
                del owner[path[-1]]
            case "repeat" if isinstance(owner, list):
                owner.append(owner[path[-1]])
    return json.dumps(request).encode()


@pytest.fixture(scope="module")
def answered(server):
    """Sends a request on a connection that stays open; gives the status, and the body where it is JSON."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)) as connection:

        def ask(method, path, body=b"", headers=None):
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            received = response.read()
            is_json = response.headers["content-type"] == "application/json"
            return response.status, json.loads(received) if is_json and received else None

        yield ask


def check(status, answer):
    assert status == 200 or 400 <= status < 500, answer
    if status != 200:
        assert list(answer) == ["error"] and answer["error"].startswith("Expected ")


@REPEATABLE
@given(
    body=nearly_valid() | VALUES.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=50), size=HEADERS
)
def test_no_body_makes_the_server_fail(answered, body, size):
    headers = {} if size is None else {"Inference-Header-Content-Length": size}
    check(*answered("POST", "/v2/models/classifier/infer", body, headers))


@REPEATABLE
@given(
    size=st.just(192) | st.integers(-1, 400) | VALUES,
    rest=st.binary(max_size=200),
    length=st.integers(-3, 3),
    binary=st.booleans(),
)
def test_no_binary_data_makes_the_server_fail(answered, size, rest, length, binary):
    request = valid()
    del request["inputs"][0]["data"]
    request["inputs"][0]["parameters"] = {"binary_data_size": size}
    request["outputs"][0]["parameters"] = {"binary_data": binary}
    header = json.dumps(request).encode()
    headers = {"Inference-Header-Content-Length": str(len(header) + length)}
    check(*answered("POST", "/v2/models/classifier/infer", header + rest, headers))


@REPEATABLE
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"]),
    parts=st.lists(
        st.sampled_from(["v2", "models", "classifier", "versions", "1", "infer", "ready", "%00", "..", "é"]).map(
            lambda part: part.replace("é", "%C3")
        ),
        max_size=6,
    ),
)
def test_no_path_makes_the_server_fail(answered, method, parts):
    status, answer = answered(method, "/" + "/".join(parts), b"{}")
    assert status < 500
    if status >= 400:
        assert list(answer) == ["error"]


def test_what_is_mutated_is_valid(answered):
    assert answered("POST", "/v2/models/classifier/infer", json.dumps(valid()).encode())[0] == 200
