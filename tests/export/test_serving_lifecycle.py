"""Servers that start and end: signals, a failing runtime, a token, TLS, and mistakes in arguments."""

import contextlib
import http.client
import json
import signal
import ssl
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import export
from tests.export.server import INFER, PATIENCE, VALID, content, holding, http_post, images, output, serving, status_of

pytest.importorskip("starlette", reason="the extra serve is not installed")


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
    from export.serving.startup import allow_many_connections

    asked = []

    def refuse(kind, limits):
        asked.append(kind)
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    allow_many_connections()
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
        (["{artifact}", "--device", "tpu"], "Received: --device tpu"),
        (["{artifact}", "--queue", "0"], "Received: --queue 0"),
        (["{artifact}", "--max-delay-ms", "-1"], "Received: --max-delay-ms -1"),
        (["{artifact}", "--port", "99999"], "--port to be from 0 to 65535"),
        (["{artifact}", "--tls-cert", "nothing"], "a certificate and its key. Received: tls_cert="),
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


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ({"grpc_port": 70000}, "Expected a port from 0 to 65535. Received: grpc_port=70000"),
        ({"grpc_port": -5}, "grpc_port=-5"),
        ({"port": 2**16}, "port=65536"),
        ({"max_batch_size": 1.5}, "Expected max_batch_size to be a whole number, at least 1. Received: .*=1.5"),
        ({"max_delay": float("inf")}, "Expected max_delay to be a finite number, at least 0. Received: .*=inf"),
        ({"queue": True}, "queue=True"),
    ],
)
def test_limits_and_ports_that_there_are_not_are_refused_at_once(limit, said, artifact):
    with pytest.raises(ValueError, match=said):
        export.serve(artifact, **limit)


def test_a_port_that_is_taken_is_one_sentence(server, artifact):
    with pytest.raises(OSError, match=f"The server cannot listen on 127.0.0.1:{server.port}"):
        export.serve(artifact, port=server.port)
