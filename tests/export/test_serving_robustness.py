"""Clients that are killed, idle, slow, many or too large: the server stays up, answers health and the others."""

import contextlib
import http.client
import json
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import export
from tests.export.server import PATIENCE, content, holding, http_post, images, output, serving

pytest.importorskip("starlette", reason="the extra serve is not installed")

INFER = "/v2/models/classifier/infer"
VALID = json.dumps(content(images(1))).encode()


@pytest.fixture(scope="module")
def impatient(artifact, tmp_path_factory):
    """A server with small limits, whose runs wait where `held` is there."""
    options = "--timeout", 1, "--queue", 4, "--max-body", 2**20
    with holding(tmp_path_factory.mktemp("impatient") / "log", artifact, *options) as (running, held):
        held.unlink()
        running.held = held
        yield running


def status_of(connection):
    """The status of the next answer, or None where the connection is closed without one."""
    with contextlib.closing(http.client.HTTPResponse(connection)) as response:
        try:
            response.begin()
        except (http.client.RemoteDisconnected, ConnectionResetError):
            return None
        response.read()
        return response.status


@pytest.mark.parametrize("sent", ["half of the headers", "half of the body", "the whole request"])
def test_a_client_is_killed_in_the_middle_of_its_request(sent, server):
    whole = http_post(INFER, VALID)
    part = {"half of the headers": whole[:20], "half of the body": whole[:-100], "the whole request": whole}[sent]
    code = (
        "import socket, sys, time; s = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); "
        "s.sendall(sys.stdin.buffer.read()); print('sent', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(server.port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        client.stdin.write(part)
        client.stdin.close()
        assert client.stdout.readline() == b"sent\n"
        client.send_signal(signal.SIGKILL)
    assert server.is_healthy()
    assert server.infer(VALID)[0] == 200


def test_a_thousand_idle_connections(server):
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(server.connect()) for _ in range(1000)]
        assert server.is_healthy()
        assert server.infer(VALID)[0] == 200
        # They are still served.
        idle[-1].sendall(http_post(INFER, VALID))
        assert status_of(idle[-1]) == 200
    assert server.is_healthy()


def resident(process):
    """Bytes of memory that a process holds."""
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())[1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured as Linux tells it")
@pytest.mark.parametrize("declared", [True, False], ids=["its length declared", "chunked"])
def test_a_body_of_a_gigabyte_is_refused_and_not_held(declared, server):
    before = resident(server.process)
    piece = b" " * 2**20
    with server.connect() as connection:
        if declared:
            connection.sendall(http_post(INFER, piece, declared=2**30))
        else:
            connection.sendall(f"POST {INFER} HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        # What is sent after the answer is not held either.
        for _ in range(1023 if declared else 1024):
            connection.sendall(piece if declared else b"100000\r\n" + piece + b"\r\n")
        if not declared:
            connection.sendall(b"0\r\n\r\n")
        assert status_of(connection) == 413
        assert resident(server.process) - before < 2**27
        # The connection goes on with the next request.
        connection.sendall(http_post(INFER, VALID))
        assert status_of(connection) == 200


def test_curl_is_told_that_its_body_is_too_large(server):
    url = f"http://127.0.0.1:{server.port}{INFER}"
    command = ["curl", "-sS", "-X", "POST", "-T", "-", "-w", "\n%{http_code}", url]
    with open("/dev/zero", "rb") as endless:
        done = subprocess.run(command, stdin=endless, capture_output=True, timeout=PATIENCE)
    answer, _, status = done.stdout.rpartition(b"\n")
    assert (status, list(json.loads(answer))) == (b"413", ["error"])


def test_a_flood_is_refused_beyond_the_queue_and_what_was_taken_is_answered(impatient):
    before = impatient.log.read_text().count('infer" 503 ')
    with contextlib.ExitStack() as stack:
        impatient.held.touch()
        clients = [stack.enter_context(impatient.connect()) for _ in range(64)]
        for client in clients:
            client.sendall(http_post(INFER, VALID))
        ends = time.monotonic() + PATIENCE
        # At most four run together, and four wait.
        while impatient.log.read_text().count('infer" 503 ') - before < 56:
            assert time.monotonic() < ends, impatient.log.read_text()
            time.sleep(0.01)
        assert impatient.is_healthy()
        impatient.held.unlink()
        responses = [http.client.HTTPResponse(client) for client in clients]
        for response in responses:
            response.begin()
        statuses = [response.status for response in responses]
        retries = {response.headers["retry-after"] for response in responses if response.status == 503}
        bodies = [json.loads(response.read()) for response in responses]
    assert statuses.count(200) + statuses.count(503) == 64
    assert 4 <= statuses.count(200) <= 8
    assert retries == {"1"}
    expected = output(next(body for status, body in zip(statuses, bodies, strict=True) if status == 200))
    for status, body in zip(statuses, bodies, strict=True):
        if status == 200:
            np.testing.assert_allclose(output(body), expected, atol=1e-6)
        else:
            assert list(body) == ["error"]
    assert impatient.infer(VALID)[0] == 200


@pytest.mark.parametrize(
    ("sent", "status"),
    [(b"", None), (b"\r\n", None), (b"GET /v2 HT", 408), (http_post(INFER, VALID)[:-1], 408)],
    ids=["nothing", "an empty line", "a part of the headers", "a part of the body"],
)
def test_a_client_that_does_not_go_on_is_not_waited_for(sent, status, impatient):
    with impatient.connect() as connection:
        connection.sendall(sent)
        assert status_of(connection) == status
        assert connection.recv(1) == b""
    assert impatient.is_healthy()


def test_a_client_that_sends_a_byte_now_and_then_is_not_waited_for(impatient):
    start = time.monotonic()
    with impatient.connect() as connection, pytest.raises(OSError):
        for _ in range(1000):
            connection.sendall(b"G")
            time.sleep(0.1)
    assert time.monotonic() - start < PATIENCE


def test_a_client_that_does_not_read_is_not_waited_for(impatient):
    page = len(impatient.request("GET", "/")[2])
    read, asked = 0, 2000
    with impatient.connect() as connection, contextlib.suppress(ConnectionError):
        for _ in range(asked // 50):
            connection.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n" * 50)
        time.sleep(2)
        while data := connection.recv(2**20):
            read += len(data)
    # What the sockets held is all that arrives.
    assert read < asked * page
    assert impatient.is_healthy()


def test_an_idle_connection_is_closed(impatient):
    with impatient.connect() as connection:
        connection.sendall(b"GET /v2 HTTP/1.1\r\nHost: here\r\n\r\n")
        assert status_of(connection) == 200
        assert connection.recv(1) == b""


def test_sigterm_drains(artifact, tmp_path):
    with (
        holding(tmp_path / "log", artifact) as (server, held),
        server.connect() as running,
        server.connect() as waiting,
    ):
        running.sendall(http_post(INFER, VALID))
        time.sleep(0.5)
        waiting.sendall(http_post(INFER, VALID))
        server.wait_for_metric('keras_skip_queue{model="classifier"} 1.0')
        server.process.send_signal(signal.SIGTERM)
        while server.get("/v2/health/ready") != (503, {"ready": False}):
            time.sleep(0.01)
        assert server.is_healthy()
        assert server.get("/v2/models/classifier/ready")[0] == 503
        assert server.infer(VALID)[0] == 503
        held.unlink()
        assert (status_of(running), status_of(waiting)) == (200, 200)
        assert server.process.wait(PATIENCE) == 0
        assert "ended" in server.log.read_text()


def test_clients_that_go_on_asking_do_not_keep_a_server_from_ending(artifact, tmp_path):
    stop = threading.Event()

    def ask_on(server):
        while not stop.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException):
                server.request("GET", "/v2/health/ready")

    with serving(tmp_path / "log", artifact) as server:
        clients = [threading.Thread(target=ask_on, args=(server,)) for _ in range(16)]
        for client in clients:
            client.start()
        try:
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(PATIENCE / 2) == 0
        finally:
            stop.set()
            for client in clients:
                client.join()


def test_a_limit_on_open_files_that_cannot_be_raised_stays(monkeypatch):
    resource = pytest.importorskip("resource", reason="there are no such limits on this system")
    from export.serving import _allow_many_connections

    asked = []

    def refuse(kind, limits):
        asked.append(kind)
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    _allow_many_connections()
    assert asked == [resource.RLIMIT_NOFILE]


def test_a_server_that_computes_something_else_than_at_the_export_is_never_ready(spoiled, tmp_path):
    from export.storage.arrays import read_batches, write_batches
    from export.storage.manifest import read_manifest, write_manifest

    batches = read_batches(spoiled / "samples.npz")
    first = next(iter(batches.values()))
    first["output/probabilities"] = first["output/probabilities"][:, ::-1]
    write_batches(spoiled / "samples.npz", batches)
    about = {k: v for k, v in read_manifest(spoiled).items() if k not in ("format", "files", "sha256")}
    write_manifest(spoiled, about)
    with serving(tmp_path / "log", spoiled, ready=False) as server:
        assert server.process.wait(PATIENCE) == 1
    log = server.log.read_text()
    assert "Error: Expected classifier, served here against Keras, recorded at export" in log
    assert "ready: " not in log and "Traceback" not in log


# onnxruntime, whose runs fail from the moment that a file is there.
FAILING = """
import os
import onnxruntime

class Session(onnxruntime.InferenceSession):
    def run(self, *arguments):
        if os.path.exists({flag!r}):
            raise RuntimeError("CUDA failure 700: an illegal memory access was encountered")
        return super().run(*arguments)

onnxruntime.InferenceSession = Session
"""


def test_a_runtime_that_fails_is_told_and_the_server_stays_up(artifact, tmp_path):
    flag = tmp_path / "broken"
    before = FAILING.format(flag=str(flag))
    with serving(tmp_path / "log", artifact, f"second={artifact}", before=before) as server:
        assert server.infer(VALID)[0] == 200
        flag.touch()
        assert server.infer(VALID) == (500, {"error": "The server has failed on this request."})
        # It does not compute what it did any more: nobody is sent to it again.
        flag.unlink()
        status, headers, body = server.request("POST", INFER, VALID)
        assert (status, headers["retry-after"], list(json.loads(body))) == (503, "1", ["error"])
        assert server.get("/v2/models/classifier/ready") == (503, {"name": "classifier", "ready": False})
        assert server.get("/v2/health/ready") == (503, {"ready": False})
        assert server.is_healthy() and server.infer(VALID, "second")[0] == 200
        assert server.terminate() == 0


def test_only_who_has_the_token_is_served(artifact, tmp_path):
    (tmp_path / "token").write_text("open-sesame\n")
    with serving(tmp_path / "log", artifact, "--token-file", tmp_path / "token") as server:
        for path in ("/v2", "/v2/models/classifier", "/metrics", "/models"):
            status, headers, body = server.request("GET", path)
            assert (status, headers["www-authenticate"], list(json.loads(body))) == (401, "Bearer", ["error"])
        for wrong in ("Bearer open-sesam", "Bearer open-sesame2", "open-sesame", "Bearer é", ""):
            assert server.infer(VALID, Authorization=wrong.encode("latin-1"))[0] == 401
        assert server.infer(VALID, Authorization="Bearer open-sesame")[0] == 200
        # What a load balancer asks, and the page, are for everyone.
        assert server.is_healthy() and server.get("/v2/health/ready")[0] == 200
        assert server.request("GET", "/")[0] == 200
        assert "open-sesame" not in server.log.read_text()


def test_https(artifact, tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run([*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    with serving(tmp_path / "log", artifact, "--tls-cert", certificate, "--tls-key", key) as server:
        trusting = ssl.create_default_context(cafile=certificate)
        connection = http.client.HTTPSConnection("127.0.0.1", server.port, context=trusting, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request("POST", INFER, VALID)
            assert connection.getresponse().status == 200
        assert server.terminate() == 0


def test_it_serves_where_neither_keras_nor_tensorflow_nor_onnx_is(artifact, tmp_path):
    missing = ("keras", "tensorflow", "keras_skip", "tf2onnx", "onnx")
    with serving(tmp_path / "log", artifact, missing=missing) as server:
        status, answer = server.infer(content(images(2)))
        assert status == 200
        np.testing.assert_allclose(output(answer), export.load(artifact)(images(2)), atol=1e-6)
        assert server.terminate() == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "Expected an artifact, a folder with artifact.json. Received: nothing"),
        (["{artifact}", "{artifact}"], "models of different names"),
        (["a b={artifact}"], "a name of letters"),
        (["{artifact}", "--device", "tpu"], "device='tpu'"),
        (["{artifact}", "--queue", "0"], "queue=0"),
        (["{artifact}", "--max-delay-ms", "-1"], "max_delay=-0.001"),
        (["{artifact}", "--port", "99999"], "a port from 0 to 65535"),
        (["{artifact}", "--tls-cert", "nothing"], "a certificate and its key. Received: one of them"),
        (["{artifact}", "--tls-cert", "nothing", "--tls-key", "nothing"], "in PEM"),
        (["{artifact}", "--token-file", "nothing"], "nothing"),
    ],
)
def test_mistakes_are_one_sentence_and_no_server(arguments, said, artifact, tmp_path, capsys, monkeypatch):
    import zoo.cli

    monkeypatch.chdir(tmp_path)
    given = [argument.format(artifact=artifact) for argument in arguments]
    monkeypatch.setattr(sys, "argv", ["keras-skip", "serve", *given])
    with pytest.raises(SystemExit) as ended:
        zoo.cli.main()
    (line,) = capsys.readouterr().err.splitlines()
    assert (ended.value.code, line.startswith("Error: ")) == (1, True)
    assert said in line


def test_a_port_that_is_taken_is_one_sentence(server, artifact):
    with pytest.raises(OSError, match=f"Expected an address to listen on. Received: 127.0.0.1:{server.port}"):
        export.serve(artifact, port=server.port)
