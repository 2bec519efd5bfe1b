"""Clients that are killed, idle, slow, many or too large: the server stays up, answers health and the others."""

import contextlib
import http.client
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.export.server import INFER, PATIENCE, VALID, holding, http_post, output, status_of

pytest.importorskip("starlette", reason="the extra serve is not installed")


@pytest.fixture(scope="module")
def impatient(artifact, tmp_path_factory):
    """A server with small limits, whose runs wait where `held` is there."""
    options = "--timeout", 1, "--queue", 4, "--max-body", 2**20
    with holding(tmp_path_factory.mktemp("impatient") / "log", artifact, *options) as (running, held):
        held.unlink()
        running.held = held
        yield running


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
