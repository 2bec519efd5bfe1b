"""A server in a process of its own, and what clients without a library need."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import export

ROOT = Path(export.__file__).parents[1]
PATIENCE = 60

# onnxruntime, whose runs wait as long as a file is there.
HELD = """
import os, time
import onnxruntime

class Session(onnxruntime.InferenceSession):
    def run(self, *arguments):
        while os.path.exists({flag!r}):
            time.sleep(0.01)
        return super().run(*arguments)

onnxruntime.InferenceSession = Session
"""


class Server:
    """`keras-skip serve`, or another command, on a free port; its log is a file.

    Packages may be missing there, and the code `before` runs first.
    """

    def __init__(self, log, *arguments, command="serve", ready=True, missing=(), before="", patience=PATIENCE):
        self.log, self.patience = Path(log), patience
        code = f"import sys; sys.modules.update(dict.fromkeys({missing}))\n{before}\nfrom zoo.cli import main; main()"
        whole = [sys.executable, "-c", code, command, *map(str, arguments), "--port", "0"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with self.log.open("wb") as file:
            self.process = subprocess.Popen(whole, env=environment, stdout=file, stderr=file)
        try:
            self.port = int(self.wait_for(r"listening on \S+:(\d+)\n")[1])
            if ready:
                self.wait_for(r"ready: ")
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    def wait_for(self, pattern):
        ends = time.monotonic() + self.patience
        while time.monotonic() < ends:
            found = re.search(pattern, self.log.read_text())
            if found:
                return found
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)
        raise AssertionError(f"no {pattern!r} in the log: {self.log.read_text()}")

    def request(self, method, path, body=None, headers=None):
        """Status, headers and body of one answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.patience)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()

    def get(self, path, **headers):
        status, _, body = self.request("GET", path, headers=headers)
        return status, json.loads(body)

    def infer(self, content, model="classifier", **headers):
        body = content if isinstance(content, bytes) else json.dumps(content)
        status, _, answer = self.request("POST", f"/v2/models/{model}/infer", body, headers)
        return status, json.loads(answer)

    def wait_for_metric(self, line):
        """Waits until /metrics has a line."""
        ends = time.monotonic() + self.patience
        while line not in self.request("GET", "/metrics")[2].decode().splitlines():
            assert time.monotonic() < ends
            time.sleep(0.01)

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def is_healthy(self):
        return self.get("/v2/health/live") == (200, {"live": True})

    def terminate(self):
        """Asks it to end; gives its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(self.patience)


@contextlib.contextmanager
def holding(log, *arguments, **options):
    """A server, and the file that its runs wait for to go away; it is there at first."""
    flag = Path(log).with_name("held")
    with serving(log, *arguments, before=HELD.format(flag=str(flag)), **options) as server:
        flag.touch()
        yield server, flag


@contextlib.contextmanager
def serving(log, *arguments, **options):
    server = Server(log, *arguments, **options)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()


def images(count, size=8):
    """What the classifier takes."""
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype="uint8")


def tensor(x, **fields):
    """An input of the protocol, as JSON."""
    about = {"name": "input", "shape": list(x.shape), "datatype": "UINT8", "data": x.ravel().tolist()}
    return {**about, **fields}


def content(x, **fields):
    """The content of a request, as JSON."""
    return {"inputs": [tensor(x)], **fields}


def output(answer):
    """The one output of an answer, as an array."""
    (given,) = answer["outputs"]
    return np.asarray(given["data"], "float32").reshape(given["shape"])


def http_post(path, body, headers="", declared=None):
    """The bytes of a request, whose body may be declared longer than it is."""
    length = len(body) if declared is None else declared
    return f"POST {path} HTTP/1.1\r\nHost: here\r\n{headers}Content-Length: {length}\r\n\r\n".encode() + body


def status_of(connection):
    """The status of the next answer, or None where the connection is closed without one."""
    with contextlib.closing(http.client.HTTPResponse(connection)) as response:
        try:
            response.begin()
        except (http.client.RemoteDisconnected, ConnectionResetError):
            return None
        response.read()
        return response.status


INFER = "/v2/models/classifier/infer"
VALID = json.dumps(content(images(1))).encode()
