"""The Open Inference Protocol, spoken with real clients."""

import json
import re
import subprocess

import numpy as np
import pytest

import export
from tests.export.server import content, images, output, tensor

triton = pytest.importorskip("tritonclient.http", reason="tritonclient is not installed", exc_type=ImportError)


@pytest.fixture
def client(server):
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as opened:
        yield opened


@pytest.fixture(scope="module")
def expected(artifact):
    return export.load(artifact)(images(5))


def asked(x, binary):
    given = triton.InferInput("input", list(x.shape), "UINT8")
    given.set_data_from_numpy(x, binary_data=binary)
    return [given]


def test_tritonclient_asks_for_health_and_metadata(client):
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("classifier") and client.is_model_ready("classifier", "1")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    about = client.get_model_metadata("classifier", "1")
    assert about == {
        "name": "classifier",
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "input", "datatype": "UINT8", "shape": [-1, 8, 8, 3]}],
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 4]}],
    }


@pytest.mark.parametrize("into", ["binary", "json"])
@pytest.mark.parametrize("out_of", ["binary", "json"])
def test_tritonclient_gets_what_the_predictor_gives(into, out_of, client, expected):
    wanted = [triton.InferRequestedOutput("probabilities", binary_data=out_of == "binary")]
    answer = client.infer("classifier", asked(images(5), into == "binary"), outputs=wanted, request_id="mine")
    assert answer.get_response()["id"] == "mine"
    assert answer.get_response()["model_version"] == "1"
    np.testing.assert_allclose(answer.as_numpy("probabilities"), expected, atol=1e-6)


def test_tritonclient_gets_all_outputs_where_it_names_none(client, expected):
    answer = client.infer("second", asked(images(5), True))
    assert answer.get_response()["model_name"] == "second"
    np.testing.assert_allclose(answer.as_numpy("probabilities"), expected, atol=1e-6)


def test_tritonclient_is_told_what_is_wrong(client):
    with pytest.raises(triton.InferenceServerException, match="Expected one of the models classifier, second"):
        client.infer("third", asked(images(1), True))
    with pytest.raises(triton.InferenceServerException, match=r"shape \[-1, 8, 8, 3\]. Received: \[1, 9, 9, 3\]"):
        client.infer("classifier", asked(images(1, size=9), True))
    assert not client.is_model_ready("third") and not client.is_model_ready("classifier", "2")


def curl(server, path, *arguments, body=None):
    url = f"http://127.0.0.1:{server.port}{path}"
    command = ["curl", "-sS", "-w", "\n%{http_code}", *arguments, url]
    done = subprocess.run(command, input=body, capture_output=True, check=True, timeout=60)
    answer, _, status = done.stdout.rpartition(b"\n")
    return int(status), json.loads(answer)


def test_curl_classifies(server, expected):
    body = json.dumps(content(images(5), id="by hand")).encode()
    status, answer = curl(server, "/v2/models/classifier/versions/1/infer", "--data-binary", "@-", body=body)
    assert (status, answer["id"], answer["model_name"]) == (200, "by hand", "classifier")
    np.testing.assert_allclose(output(answer), expected, atol=1e-6)


def test_an_answer_has_an_id_only_where_the_request_has_one(server):
    _, answer = server.infer(content(images(1)))
    assert "id" not in answer


def test_data_may_be_nested_as_its_shape(server, expected):
    status, answer = server.infer({"inputs": [tensor(images(5), data=images(5).tolist())]})
    assert status == 200
    np.testing.assert_allclose(output(answer), expected, atol=1e-6)


def test_a_large_body_takes_the_way_through_a_thread(server, artifact):
    x = images(32)
    body = json.dumps(content(x, id="x" * 2**17))
    _, answer = server.infer(body.encode())
    np.testing.assert_allclose(output(answer), export.load(artifact)(x), atol=1e-6)


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready", "/v2/models/second/ready", "/v2"])
def test_curl_asks_for_health(path, server):
    assert curl(server, path)[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models/third", 404),
        ("GET", "/v2/models/classifier/versions/2", 404),
        ("GET", "/v2/models/classifier/versions/2/ready", 404),
        ("POST", "/v2/models/classifier/versions/x/infer", 404),
        ("GET", "/v2/models/classifier/infer", 405),
        ("POST", "/v2", 405),
        ("GET", "/nothing", 404),
        ("POST", "/v2/repository/models/classifier/unload", 404),
        ("POST", "/v2/repository/models/classifier/load", 404),
        ("POST", "/v2/repository/index", 404),
        ("DELETE", "/v2/models/classifier", 405),
        ("POST", "/v2/systemsharedmemory/region/x/register", 404),
    ],
)
def test_what_is_not_there_is_an_error_in_the_protocols_form(method, path, status, server):
    given, headers, body = server.request(method, path, b"{}" if method == "POST" else None)
    assert (given, headers["content-type"]) == (status, "application/json")
    assert list(json.loads(body)) == ["error"]


ONE = images(1)
HEADER = "Inference-Header-Content-Length"


@pytest.mark.parametrize(
    ("body", "headers", "said"),
    [
        (b"", {}, "JSON"),
        (b"{", {}, "JSON"),
        (b"[]", {}, "JSON object"),
        (b"[" * 100_000, {}, "JSON"),
        (b'{"inputs": NaN}', {}, "JSON"),
        (b"\xff\xfe", {}, "JSON"),
        ({}, {}, "at least one tensor"),
        ({"inputs": []}, {}, "at least one tensor"),
        ({"inputs": [1]}, {}, "input to be a JSON object"),
        ({"inputs": [{}]}, {}, "to have a name"),
        (content(ONE, id=5), {}, "id to be a string"),
        (content(ONE, parameters=[]), {}, "parameters"),
        (content(ONE, outputs={}), {}, "outputs to be a list"),
        (content(ONE, outputs=[{"name": "logits"}]), {}, "Expected the outputs probabilities. Received: logits"),
        (content(ONE, outputs=[{"name": "probabilities"}] * 2), {}, "each output once"),
        (content(ONE, outputs=[{"name": "probabilities", "parameters": {"binary_data": 1}}]), {}, "true or false"),
        (content(ONE, outputs=[{"name": "probabilities", "parameters": {"classification": 2}}]), {}, "extension"),
        ({"inputs": [tensor(ONE), tensor(ONE)]}, {}, "each input once"),
        ({"inputs": [tensor(ONE, name="image")]}, {}, "Expected the inputs input. Received: image"),
        ({"inputs": [tensor(ONE, datatype="FP32")]}, {}, "datatype UINT8. Received: FP32"),
        ({"inputs": [tensor(ONE, datatype="BYTES")]}, {}, "datatype"),
        ({"inputs": [tensor(ONE, shape=[-1, 8, 8, 3])]}, {}, "list of sizes"),
        ({"inputs": [tensor(ONE, shape=[1, 8, 8])]}, {}, "shape [-1, 8, 8, 3]"),
        ({"inputs": [tensor(ONE, shape=[2**40, 8, 8, 3])]}, {}, "list of sizes"),
        ({"inputs": [tensor(ONE, shape=[True, 8, 8, 3])]}, {}, "list of sizes"),
        ({"inputs": [tensor(ONE, shape=[0, 8, 8, 3], data=[])]}, {}, "1 to 32 examples"),
        ({"inputs": [tensor(images(33))]}, {}, "1 to 32 examples"),
        ({"inputs": [tensor(ONE, data=[1])]}, {}, "as much data"),
        ({"inputs": [tensor(ONE, data="abc")]}, {}, "a list"),
        ({"inputs": [tensor(ONE, data=[256] * 192)]}, {}, "within 0 to 255"),
        ({"inputs": [tensor(ONE, data=[-1] * 192)]}, {}, "within 0 to 255"),
        ({"inputs": [tensor(ONE, data=[0.5] * 192)]}, {}, "UINT8"),
        ({"inputs": [tensor(ONE, data=[None] * 192)]}, {}, "UINT8"),
        ({"inputs": [tensor(ONE, data=["a"] * 192)]}, {}, "UINT8"),
        ({"inputs": [tensor(ONE, data=[[1, 2], [3]])]}, {}, "as much data"),
        ({"inputs": [tensor(ONE, data=[[[1, 2], [3]]])]}, {}, "data of input"),
        ({"inputs": [tensor(ONE, parameters={"shared_memory_region": "x"})]}, {}, "extension"),
        ({"inputs": [tensor(ONE, parameters={"binary_data_size": 192})]}, {}, "data or binary_data_size"),
        (b"{}", {HEADER: "3"}, "at most the body's 2 bytes"),
        (b"{}", {HEADER: "-1"}, "to be a number"),
        (b"{}", {HEADER: "9" * 5000}, "at most the body's 2 bytes"),
        (json.dumps(content(ONE)).encode() + b"rest", {HEADER: str(len(json.dumps(content(ONE))))}, "no bytes after"),
    ],
)
def test_a_malformed_request_is_told_what_is_wrong(body, headers, said, server):
    status, answer = server.infer(body, **headers)
    assert status == 400
    assert said in answer["error"]


def test_a_compressed_body_is_refused(server):
    assert server.infer(b"\x1f\x8b", **{"Content-Encoding": "gzip"})[0] == 415


def test_bytes_that_are_no_http_are_an_error_in_the_protocols_form(server):
    with server.connect() as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        head, _, body = connection.recv(4096).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert list(json.loads(body)) == ["error"]


def test_headers_without_an_end_are_refused(server):
    with server.connect() as connection:
        connection.sendall(b"GET /v2 HTTP/1.1\r\nX: " + b"x" * 2**17)
        assert connection.recv(4096).startswith(b"HTTP/1.1 431 ")


def test_metrics_count_what_was_asked(server):
    def read(line):
        _, _, body = server.request("GET", "/metrics")
        found = [float(text.rpartition(" ")[2]) for text in body.decode().splitlines() if text.startswith(line)]
        return found[0] if found else 0.0

    lines = [
        'keras_skip_requests_total{model="second",status="200"}',
        'keras_skip_requests_total{model="second",status="400"}',
        'keras_skip_request_seconds_count{model="second"}',
        'keras_skip_batch_size_sum{model="second"}',
        'keras_skip_run_seconds_count{model="second"}',
    ]
    before = [read(line) for line in lines]
    assert server.infer(content(images(3)), "second")[0] == 200
    assert server.infer({}, "second")[0] == 400
    assert [read(line) for line in lines] == [before[0] + 1, before[1] + 1, before[2] + 2, before[3] + 3, before[4] + 1]
    assert read('keras_skip_queue{model="second"}') == 0


def test_the_access_log_has_a_line_for_each_answer_and_no_line_of_a_clients(server):
    assert server.request("GET", "/v2/health/live%0Aforged")[0] == 404
    server.wait_for(r'127.0.0.1:\d+ "GET /v2/health/live%0Aforged" 404 \d+\.\d ms\n')
    (line,) = [line for line in server.log.read_text().splitlines() if "forged" in line]
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} 127.0.0.1:", line)
