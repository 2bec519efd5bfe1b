"""The Open Inference Protocol over gRPC, spoken with NVIDIA's client."""

import json
import queue
import sys
import time

import keras
import numpy as np
import pytest

import export
from export.tables import Column, Columns
from tests.export.server import PATIENCE, holding, images, serving

pytest.importorskip("starlette", reason="the extra serve is not installed")
triton = pytest.importorskip("tritonclient.grpc", reason="the extra grpc is not installed", exc_type=ImportError)
messages = triton.service_pb2


def grpc_address(server):
    port = server.wait_for(r"listening on grpc://127.0.0.1:(\d+)")[1]
    return f"127.0.0.1:{port}"


@pytest.fixture(scope="module")
def both(artifact, tmp_path_factory):
    """A server of HTTP and gRPC."""
    log = tmp_path_factory.mktemp("grpc") / "log"
    with serving(log, artifact, "--grpc-port", 0, "--max-body", 2**20) as running:
        running.grpc = grpc_address(running)
        yield running
        assert running.terminate() == 0


@pytest.fixture
def client(both):
    with triton.InferenceServerClient(both.grpc) as opened:
        yield opened


def tensor(x, **fields):
    """An input with typed contents, which tritonclient does not send itself."""
    about = {"name": "input", "datatype": "UINT8", "shape": x.shape, "contents": {"uint_contents": x.ravel().tolist()}}
    return {**about, **fields}


def asked(client, **request):
    """Sends a message as it is; gives the answer, or the code and the text of the error."""
    request = {"model_name": "classifier", **request}
    try:
        return client._client_stub.ModelInfer(messages.ModelInferRequest(**request), timeout=PATIENCE)
    except triton._client.grpc.RpcError as error:
        return error.code().name, error.details()


def given(x):
    array = triton.InferInput("input", list(x.shape), "UINT8")
    array.set_data_from_numpy(x)
    return [array]


def test_health_and_metadata_are_those_of_http(client, both):
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("classifier", "1")
    assert client.get_server_metadata(as_json=True)["extensions"] == ["binary_tensor_data"]
    about = client.get_model_metadata("classifier", as_json=True)
    _, of_http = both.get("/v2/models/classifier")
    for kind in ("inputs", "outputs"):
        (declared,) = about[kind]
        assert declared == {**of_http[kind][0], "shape": [str(n) for n in of_http[kind][0]["shape"]]}


def test_metadata_of_a_model_that_takes_rows_of_a_table(tmp_path):
    columns = Columns((Column("age"), Column("size"), Column("floors")), ("rent",))
    x = keras.Input((3,), name="row")
    about = {"task": "regression", "target_names": columns.targets, "table": columns.to_dict(), "name": "rents"}
    made = export.export(
        keras.Model(x, keras.layers.Dense(1)(x)), tmp_path / "a", formats="onnx", device="cpu", **about
    )
    with serving(tmp_path / "log", made.path, "--grpc-port", 0) as running:
        with triton.InferenceServerClient(grpc_address(running)) as client:
            (declared,) = client.get_model_metadata("rents", as_json=True)["inputs"]
        assert (declared["name"], declared["shape"]) == ("row", ["-1", "3"])
        assert running.get("/v2/models/rents")[1]["parameters"]["columns"][1]["name"] == "size"
        assert running.terminate() == 0


def test_the_answer_is_the_predictors(client, artifact):
    x = images(5)
    answer = client.infer("classifier", given(x), request_id="mine", client_timeout=PATIENCE)
    assert (answer.get_response().id, answer.get_response().model_version) == ("mine", "1")
    np.testing.assert_allclose(answer.as_numpy("probabilities"), export.load(artifact)(x), atol=1e-6)


def test_typed_contents_are_read_too(client, artifact):
    x = images(2)
    answer = asked(client, inputs=[tensor(x)], outputs=[{"name": "probabilities"}])
    received = np.frombuffer(answer.raw_output_contents[0], "<f4").reshape(answer.outputs[0].shape)
    np.testing.assert_allclose(received, export.load(artifact)(x), atol=1e-6)


ONE = images(1)


@pytest.mark.parametrize(
    ("request_", "code", "said"),
    [
        ({"inputs": []}, "INVALID_ARGUMENT", "at least one tensor"),
        ({"inputs": [tensor(ONE)] * 2}, "INVALID_ARGUMENT", "each input once"),
        ({"inputs": [tensor(ONE, name="image")]}, "INVALID_ARGUMENT", "Expected the inputs input. Received: image"),
        ({"inputs": [tensor(ONE, datatype="FP32")]}, "INVALID_ARGUMENT", "datatype UINT8. Received: FP32"),
        ({"inputs": [tensor(ONE, datatype="BYTES")]}, "INVALID_ARGUMENT", "datatype of input"),
        ({"inputs": [tensor(ONE, shape=[1, 8, 8])]}, "INVALID_ARGUMENT", "shape [-1, 8, 8, 3]"),
        ({"inputs": [tensor(ONE, shape=[-1, 8, 8, 3])]}, "INVALID_ARGUMENT", "list of sizes"),
        ({"inputs": [tensor(images(33))]}, "INVALID_ARGUMENT", "1 to 32 examples"),
        ({"inputs": [tensor(ONE, contents={"uint_contents": [1]})]}, "INVALID_ARGUMENT", "as much data"),
        ({"inputs": [tensor(ONE, contents={"uint_contents": [256] * 192})]}, "INVALID_ARGUMENT", "within 0 to 255"),
        ({"inputs": [tensor(ONE)], "outputs": [{"name": "logits"}]}, "INVALID_ARGUMENT", "Received: logits"),
        ({"inputs": [tensor(ONE)], "raw_input_contents": [ONE.tobytes()]}, "INVALID_ARGUMENT", "Received: both"),
        ({"inputs": [tensor(ONE)], "raw_input_contents": [b"", b""]}, "INVALID_ARGUMENT", "each of 1 inputs"),
        ({"model_name": "third", "inputs": [tensor(ONE)]}, "NOT_FOUND", "Expected one of the models classifier"),
        ({"model_version": "2", "inputs": [tensor(ONE)]}, "NOT_FOUND", "Expected version 1"),
    ],
)
def test_what_is_wrong_is_told_as_over_http(request_, code, said, client):
    received = asked(client, **request_)
    assert received[0] == code
    assert said in received[1]


def test_raw_contents_of_another_size_and_messages_too_large_are_refused(client):
    about = {"name": "input", "datatype": "UINT8", "shape": ONE.shape}
    code, text = asked(client, inputs=[about], raw_input_contents=[ONE.tobytes()[1:]])
    assert code == "INVALID_ARGUMENT" and "Expected 192 bytes for input" in text
    assert asked(client, inputs=[about], raw_input_contents=[b"x" * 2**21])[0] == "RESOURCE_EXHAUSTED"
    assert client.is_server_live()


def test_packed_messages_are_refused_before_they_are_unpacked(client):
    with pytest.raises(triton.InferenceServerException, match="UNIMPLEMENTED"):
        client.infer("classifier", given(ONE), compression_algorithm="gzip")
    assert client.is_server_live()


def test_what_does_not_arrive_in_time_is_cut_off(artifact, tmp_path):
    grpc = triton._client.grpc
    options = "--grpc-port", 0, "--timeout", 1, "--max-body", 2**33
    with (
        serving(tmp_path / "log", artifact, *options) as server,
        grpc.insecure_channel(grpc_address(server)) as channel,
    ):
        call = channel.stream_unary("/inference.GRPCInferenceService/ModelInfer")
        never = iter(queue.Queue().get, None)
        with pytest.raises(grpc.RpcError) as caught:
            call(never, timeout=PATIENCE)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "Expected a request within 1 seconds" in caught.value.details()
        with pytest.raises(grpc.RpcError, match="Expected a message"):
            call(iter(()), timeout=PATIENCE)
        server.wait_for(r'"gRPC ModelInfer" 408 ')


def test_calls_whose_message_does_not_come_make_room_for_others(artifact, tmp_path):
    grpc = triton._client.grpc
    few = "import export.serving.grpc_server; export.serving.grpc_server._ARRIVING = 4"
    with (
        serving(tmp_path / "log", artifact, "--grpc-port", 0, before=few) as server,
        grpc.insecure_channel(grpc_address(server)) as channel,
        triton.InferenceServerClient(grpc_address(server)) as client,
    ):
        call = channel.stream_unary("/inference.GRPCInferenceService/ModelInfer")
        slow = [call.future(iter(queue.Queue().get, None), timeout=PATIENCE) for _ in range(40)]
        assert client.infer("classifier", given(ONE), client_timeout=PATIENCE).as_numpy("probabilities").shape == (1, 4)
        ended, ends = [], time.monotonic() + PATIENCE
        while len(ended) < 36:
            assert time.monotonic() < ends
            ended = [each for each in slow if each.done()]
        assert "Expected a request sooner, while others wait" in ended[0].details()
        for each in slow:
            each.cancel()


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (b"\x2a\x00" * 400_000, "Expected at most 16384 fields in a message"),
        (b"\x2a\xff", "Expected a message of ModelInferRequest"),
    ],
    ids=["a flood of inputs", "no message"],
)
def test_messages_that_are_costly_or_broken_are_told_so(message, said, both):
    grpc = triton._client.grpc
    with grpc.insecure_channel(both.grpc) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(message, timeout=PATIENCE)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert said in caught.value.details()


def test_who_leaves_before_the_answer_is_counted_as_gone_and_not_computed(artifact, tmp_path):
    with (
        holding(tmp_path / "log", artifact, "--grpc-port", 0) as (server, held),
        triton.InferenceServerClient(grpc_address(server)) as client,
    ):
        for _ in range(3):
            with pytest.raises(triton.InferenceServerException, match="Deadline|DEADLINE"):
                client.infer("classifier", given(ONE), client_timeout=0.5)
        server.wait_for_metric('keras_skip_requests_total{model="classifier",status="499"} 3.0')
        server.wait_for_metric('keras_skip_queue{model="classifier"} 0.0')
        held.unlink()
        client.infer("classifier", given(ONE), client_timeout=PATIENCE)
        # The first had begun.
        server.wait_for_metric('keras_skip_batch_size_sum{model="classifier"} 2.0')


def test_nothing_else_is_there(client):
    for call in (lambda: client.unload_model("classifier"), client.get_model_repository_index):
        with pytest.raises(triton.InferenceServerException, match="UNIMPLEMENTED"):
            call()


def test_http_and_grpc_share_their_metrics_and_their_log(client, both):
    def count(status):
        line = f'keras_skip_requests_total{{model="classifier",status="{status}"}} '
        text = both.request("GET", "/metrics")[2].decode()
        return sum(float(each.removeprefix(line)) for each in text.splitlines() if each.startswith(line))

    before = count(200), count(400)
    client.infer("classifier", given(ONE))
    asked(client)
    assert both.infer(json.dumps({}))[0] == 400
    assert (count(200), count(400)) == (before[0] + 1, before[1] + 2)
    both.wait_for(r'127.0.0.1:\d+ "gRPC ModelInfer" 400 \d+\.\d ms\n')


def test_a_full_queue_and_a_drain_are_unavailable_and_what_was_taken_is_answered(artifact, tmp_path):
    options = "--grpc-port", 0, "--queue", 1
    answers = queue.Queue()
    with (
        holding(tmp_path / "log", artifact, *options) as (server, held),
        triton.InferenceServerClient(grpc_address(server)) as client,
    ):
        # One runs, and one waits.
        for waiting in (0, 1):
            client.async_infer("classifier", given(ONE), callback=lambda result, error: answers.put((result, error)))
            server.wait_for_metric(f'keras_skip_queue{{model="classifier"}} {waiting}.0')
            time.sleep(0.5 * (not waiting))
        code, text = asked(client, inputs=[tensor(ONE)])
        assert (code, "server is busy" in text) == ("UNAVAILABLE", True)
        server.process.terminate()
        while client.is_server_ready():
            time.sleep(0.01)
        assert asked(client, inputs=[tensor(ONE)]) == ("UNAVAILABLE", "classifier is not ready.")
        held.unlink()
        for _ in range(2):
            result, error = answers.get(timeout=PATIENCE)
            assert error is None
            np.testing.assert_allclose(result.as_numpy("probabilities"), export.load(artifact)(ONE), atol=1e-6)
        assert server.process.wait(PATIENCE) == 0


def test_only_who_has_the_token_is_served(artifact, tmp_path):
    (tmp_path / "token").write_text("open-sesame")
    options = "--grpc-port", 0, "--token-file", tmp_path / "token"
    with (
        serving(tmp_path / "log", artifact, *options) as server,
        triton.InferenceServerClient(grpc_address(server)) as client,
    ):
        assert client.is_server_live() and client.is_server_ready()
        for wrong in ({}, {"authorization": "Bearer open"}, {"authorization": "open-sesame"}):
            with pytest.raises(triton.InferenceServerException, match="UNAUTHENTICATED"):
                client.infer("classifier", given(ONE), headers=wrong)
        right = client.infer("classifier", given(ONE), headers={"authorization": "Bearer open-sesame"})
        assert right.as_numpy("probabilities").shape == (1, 4)


def test_a_port_that_is_taken_ends_the_server(both, artifact, tmp_path):
    with serving(tmp_path / "log", artifact, "--grpc-port", both.grpc.rpartition(":")[2], ready=False) as server:
        assert server.process.wait(PATIENCE) == 1
    assert f"Error: The server cannot listen on {both.grpc}" in server.log.read_text()


def test_without_the_extra_it_is_named(artifact, monkeypatch):
    monkeypatch.setitem(sys.modules, "grpc", None)
    monkeypatch.delitem(sys.modules, "export.serving.grpc_server", raising=False)
    with pytest.raises(ValueError, match='The extra "grpc" is not installed'):
        export.serve(artifact, port=0, grpc_port=0)
