"""Clients that keep their connections open, and check every answer."""

import asyncio
import json
import time

import numpy as np


def encode_request(name, output, x, datatype):
    """Encodes one example in the protocol's binary form; returns the header alone, and the whole body."""
    wanted = {"name": output, "parameters": {"binary_data": True}}
    tensor = {"name": name, "shape": [1, *x.shape], "datatype": datatype, "parameters": {"binary_data_size": x.nbytes}}
    header = json.dumps({"id": "1", "inputs": [tensor], "outputs": [wanted]}).encode()
    return header, header + x.tobytes()


def build_requests(path, name, output, examples, datatype, port):
    """Returns a whole HTTP request for each example."""
    made = []
    for x in examples:
        header, content = encode_request(name, output, x, datatype)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/octet-stream\r\n"
            f"Inference-Header-Content-Length: {len(header)}\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        made.append(head.encode() + content)
    return made


class Client(asyncio.Protocol):
    """A connection that sends its next request as soon as the last one is answered."""

    def __init__(self, take, requests, check, times, done):
        self.take, self.requests, self.check, self.times, self.done = take, requests, check, times, done
        self.received, self.number = b"", None

    def connection_made(self, transport):
        self.transport = transport
        self.send()

    def send(self):
        self.number = next(self.take, None)
        if self.number is None:
            self.done.set_result(None)
            self.transport.close()
            return
        self.received, self.start = b"", time.perf_counter()
        self.transport.write(self.requests[self.number % len(self.requests)])

    def data_received(self, data):
        self.received += data
        head, separator, content = self.received.partition(b"\r\n\r\n")
        if not separator:
            return
        lines = head.decode().lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:])
        if len(content) < int(headers["content-length"]):
            return
        self.times.append(time.perf_counter() - self.start)
        self.check(self.number, int(lines[0].split()[1]), headers, content)
        self.send()

    def connection_lost(self, exc):
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("The server has closed a connection."))


def send_requests(port, requests, expected, count, clients):
    """Sends `count` requests; returns the rate, the times, and how many answers are lost or wrong."""
    times, wrong, lost = [], [], []

    def check(number, status, headers, content):
        if status != 200:
            lost.append(number)
            return
        size = int(headers.get("inference-header-content-length", 0))
        # A server may answer in JSON all the same.
        y = np.frombuffer(content[size:], "<f4") if size else np.array(json.loads(content)["outputs"][0]["data"])
        reference = expected[number % len(expected)]
        if y.shape != reference.shape or np.max(np.abs(y - reference)) > 1e-5:
            wrong.append(number)

    async def run():
        loop, take = asyncio.get_running_loop(), iter(range(count))
        start = time.perf_counter()
        finished = [loop.create_future() for _ in range(clients)]
        for done in finished:
            await loop.create_connection(
                lambda done=done: Client(take, requests, check, times, done), "127.0.0.1", port
            )
        await asyncio.gather(*finished)
        return time.perf_counter() - start

    seconds = asyncio.run(run())
    lost_count = count - len(times) + len(lost)
    return {"requests_per_second": count / seconds, "lost": lost_count, "wrong": len(wrong), **percentiles(times)}


def percentiles(times):
    """Returns the median and the 99th percentile in milliseconds."""
    return {f"p{q}_ms": float(np.percentile(times, q)) * 1e3 for q in (50, 99)}
