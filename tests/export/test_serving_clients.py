"""Clients that leave, stall, offer another protocol or send far too much, and a log that nobody reads."""

import asyncio
import contextlib
import http.client
import json
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from tests.export.server import PATIENCE, ROOT, content, holding, http_post, images, output, serving

pytest.importorskip("starlette", reason="the extra serve is not installed")

INFER = "/v2/models/classifier/infer"
VALID = json.dumps(content(images(1))).encode()
# More than a connection hands on before it is asked for more.
PADDED = VALID + b" " * 200_000


def status_of(connection):
    """The status of the next answer."""
    with contextlib.closing(http.client.HTTPResponse(connection)) as response:
        response.begin()
        response.read()
        return response.status


UPGRADE = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAA\r\n"
CHUNKED = (
    f"POST {INFER} HTTP/1.1\r\nHost: here\r\n{UPGRADE}Transfer-Encoding: chunked\r\n\r\n{len(VALID):x}\r\n".encode()
    + VALID
    + b"\r\n0\r\n\r\n"
)


@pytest.mark.parametrize(
    ("sent", "statuses"),
    [
        (http_post(INFER, VALID, UPGRADE), [200]),
        (http_post(INFER, PADDED, UPGRADE), [200]),
        (http_post(INFER, VALID, "Connection: upgrade\r\nUpgrade: websocket\r\n"), [200]),
        (CHUNKED, [200]),
        (http_post(INFER, b"{}", UPGRADE) * 3 + http_post(INFER, VALID), [400, 400, 400, 200]),
        (f"GET /v2/health/live HTTP/1.1\r\nHost: here\r\n{UPGRADE}\r\n".encode() * 2, [200, 200]),
        (b"CONNECT here:80 HTTP/1.1\r\nHost: here\r\n\r\n", [400]),
    ],
    ids=["h2c", "a large body", "websocket", "chunked", "pipelined", "without a body", "CONNECT"],
)
@pytest.mark.parametrize("step", [10**9, 7])
def test_an_offer_of_another_protocol_is_declined_and_the_request_answered(sent, statuses, step, server):
    with server.connect() as connection:
        for i in range(0, len(sent), max(step, len(sent) // 1000)):
            connection.sendall(sent[i : i + max(step, len(sent) // 1000)])
        received, found = b"", []
        while len(found) < len(statuses) and (data := connection.recv(2**16)):
            received += data
            found = re.findall(rb"HTTP/1\.1 (\d{3}) ", received)
        assert [int(status) for status in found] == statuses


def test_curls_own_offer_of_http2_is_answered(server):
    features = subprocess.run(["curl", "--version"], capture_output=True, text=True, check=True).stdout
    if "HTTP2" not in features:
        pytest.skip("this curl has no HTTP/2")
    url = f"http://127.0.0.1:{server.port}{INFER}"
    command = ["curl", "-sS", "--http2", "--data-binary", "@-", url]
    answer = subprocess.run(command, input=VALID, capture_output=True, timeout=PATIENCE, check=True).stdout
    assert output(json.loads(answer)).shape == (1, 4)


@pytest.mark.parametrize("body", [VALID, PADDED], ids=["small", "large"])
def test_requests_whose_clients_have_gone_are_not_computed(body, artifact, tmp_path):
    with holding(tmp_path / "log", artifact) as (server, held), server.connect() as running:
        running.sendall(http_post(INFER, VALID))
        time.sleep(0.5)
        for _ in range(10):
            with server.connect() as leaving:
                leaving.sendall(http_post(INFER, body)[:1000])
                time.sleep(0.1 * (body is PADDED))
                leaving.sendall(http_post(INFER, body)[1000:])
                server.wait_for_metric('keras_skip_queue{model="classifier"} 1.0')
            server.wait_for_metric('keras_skip_queue{model="classifier"} 0.0')
        held.unlink()
        assert status_of(running) == 200
        assert server.infer(VALID)[0] == 200
        server.wait_for_metric('keras_skip_batch_size_sum{model="classifier"} 2.0')
        server.wait_for_metric('keras_skip_requests_total{model="classifier",status="499"} 10.0')
        assert "Traceback" not in server.log.read_text()


def test_slow_bodies_leave_room_for_others(artifact, tmp_path):
    largest = 2**18
    with (
        serving(tmp_path / "log", artifact, "--max-body", largest, "--timeout", 30) as server,
        contextlib.ExitStack() as stack,
    ):
        slow = [stack.enter_context(server.connect()) for _ in range(16)]
        for connection in slow:
            connection.sendall(http_post(INFER, b" ", declared=largest))
        assert server.infer(VALID)[0] == 200
        time.sleep(0.5)
        assert server.infer(PADDED)[0] == 200
        # One of them has made room, and is told.
        (told,), _, _ = select.select(slow, [], [], PATIENCE)
        assert status_of(told) == 408
        assert server.is_healthy()


@pytest.mark.parametrize(
    ("piece", "said"), [(b"[],", "lists"), (b"{},", "objects"), (b'"",', "quotes")], ids=["lists", "objects", "strings"]
)
def test_health_while_much_that_is_nothing_arrives(piece, said, server):
    body = b'{"inputs":[' + piece * (15 * 10**6 // len(piece)) + b"0]}"
    answers = []
    sender = threading.Thread(target=lambda: answers.append(server.infer(body)))
    sender.start()
    worst = 0.0
    while sender.is_alive():
        start = time.monotonic()
        assert server.is_healthy()
        worst = max(worst, time.monotonic() - start)
        time.sleep(0.01)
    ((status, answer),) = answers
    assert (status, said in answer["error"]) == (400, True)
    assert worst < 1.5


def certificate(folder):
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate with")
    key, chain = folder / "key.pem", folder / "certificate.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    subprocess.run([*command.split(), "-keyout", key, "-out", chain], check=True, capture_output=True)
    return "--tls-cert", chain, "--tls-key", key


def test_handshakes_have_as_long_as_a_request(artifact, tmp_path):
    grpc = pytest.importorskip("grpc", reason="the extra grpc is not installed") is not None
    options = *certificate(tmp_path), "--timeout", 1, *(("--grpc-port", 0) if grpc else ())
    with serving(tmp_path / "log", artifact, *options) as server:
        of_grpc = int(server.wait_for(r"listening on grpc://127.0.0.1:(\d+)")[1])
        for port in (server.port, of_grpc):
            start = time.monotonic()
            with (
                socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as silent,
                contextlib.suppress(ConnectionError),
            ):
                assert silent.recv(1) == b""
            assert time.monotonic() - start < 20
        assert server.terminate() == 0


def test_a_server_whose_log_nobody_reads_answers_and_ends(artifact, tmp_path):
    """Both of its streams are full, as are the pipes of a service manager that has stopped reading."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from zoo.cli import main; main()", "serve", artifact, "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT)
    request = b"GET /" + b"a" * 4000 + b" HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
    try:
        answered, ends = 0, time.monotonic() + PATIENCE
        while answered < 60:
            assert time.monotonic() < ends
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
                    connection.sendall(request)
                    answered += connection.recv(100).startswith(b"HTTP/1.1 404 ")
            except ConnectionRefusedError:
                time.sleep(0.1)
        # What is in the pipe is less than what was written to it.
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_log_writes_what_is_left_at_its_end(monkeypatch, tmp_path):
    from export.serving import observation

    with (tmp_path / "log").open("w") as file:
        monkeypatch.setattr(sys, "stderr", file)
        log = observation.start_logging(access_log=True)
        for i in range(1000):
            observation.ACCESS.info("line %d", i)
        observation.SERVER.error("é \udce9")
        log.stop()
    lines = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    assert [line.rpartition(" line ")[2] for line in lines[:-1]] == [str(i) for i in range(1000)]
    assert lines[-1].endswith("é \\udce9")


def test_a_run_has_no_more_elements_than_one_of_recorded_examples(tmp_path, monkeypatch):
    import export
    from export.serving import model
    from export.serving.errors import RequestError
    from export.serving.limits import Limits
    from export.serving.model import Model
    from export.serving.observation import Metrics
    from export.serving.protocol.v2 import InferRequest
    from tests.export.models import conv_net
    from tests.export.test_batchable import marked

    raw = export.Preprocessing("uint8", scale=1 / 255)
    folder = export.export(conv_net(None), tmp_path / "a", preprocessing=raw, formats="onnx", name="m").path
    monkeypatch.setattr(model, "_ELEMENTS", 1)
    model = Model(folder, None, "cpu", Limits(max_batch_size=4), Metrics())
    largest = max(x[0].size for batch in model.samples.values() for x in batch.values())
    assert model._max_elements == 4 * largest
    # Of the sizes below, four, two and not even one fit.
    assert 4 * 41**2 * 3 <= 4 * largest < 100**2 * 3
    runs, compute = [], model._predictor.run

    def run(batch, options=None):
        runs.append((len(batch["input"]), options is not None))
        return compute(batch, options)

    monkeypatch.setattr(model._predictor, "run", run)

    async def infer(size):
        x = np.random.default_rng(0).integers(0, 256, (4, size, size, 3), dtype="uint8")
        given = (await model.infer(InferRequest(None, {"input": x}, {}, False)))[model._outputs[0]]
        np.testing.assert_allclose(given, export.load(folder)(x), atol=1e-5)

    async def whole():
        for size in (41, 50, 100):
            await infer(size)
        await model.close()

    asyncio.run(whole())
    # Memory is given back after a run that is larger, since one example is.
    assert runs == [(4, False), (2, False), (2, False), *[(1, True)] * 4]
    # What may not be run in pieces is refused.
    whole_only = Model(marked(folder, False), None, "cpu", Limits(max_batch_size=4), Metrics())
    for shape in ([4, 41, 41, 3], [1, 500, 500, 3]):
        whole_only.check_tensor("input", shape, "UINT8")
    with pytest.raises(
        RequestError, match=f"at most {4 * largest} elements of input, since m computes a request as a whole"
    ):
        whole_only.check_tensor("input", [2, 100, 100, 3], "UINT8")


def test_models_are_at_least_one_and_have_different_names(artifact):
    from export.serving.limits import Limits
    from export.serving.model import load_models
    from export.serving.observation import Metrics

    with pytest.raises(ValueError, match="at least one artifact. Received: none"):
        load_models([], "cpu", Limits(), Metrics())
    with pytest.raises(ValueError, match="different names.* Received: classifier twice"):
        load_models([artifact, artifact], "cpu", Limits(), Metrics())
    both = load_models([artifact, (artifact, "second")], "cpu", Limits(), Metrics())
    assert [(name, model.name) for name, model in both.items()] == [("classifier",) * 2, ("second",) * 2]
