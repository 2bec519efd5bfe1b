"""Replicas on Ray Serve: real processes, one of them killed while all are busy."""

import contextlib
import http.client
import json
import os
import signal
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import export
from tests.export.ray_actors import actors_of
from tests.export.server import content, images, output, serving, tensor

pytest.importorskip("starlette", reason="the extra serve is not installed")
# Ray's own models are declared as Pydantic did it before version 2.
pytestmark = pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`:DeprecationWarning")
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="the extra ray is not installed")
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found as Linux tells them")

INFER = "/v2/models/classifier/infer"
CLIENTS, REQUESTS = 8, 40
# Starting Ray and its processes takes a slow machine long.
PATIENCE = 300
# Ray waits this long for its proxy, and half a minute, which nothing changes, for its own processes.
BEFORE = f"import os; os.environ['RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S'] = '{PATIENCE}'"
TOO_SLOW = "The current node timed out during startup"
# What a client asks again after: the server's own failures, and no answer at all.
REPEATED = (500, 503, None)


@pytest.fixture(scope="module")
def on_ray(artifact, tmp_path_factory):
    """Two replicas; a request waits some time for others, so that each holds some whenever it is killed."""
    options = "--target", "ray", "--replicas", "2", "--cpus", "0.5", "--max-delay-ms", "50"
    log = tmp_path_factory.mktemp("ray") / "log"
    with contextlib.ExitStack() as stack:
        server = serving(log, artifact, *options, command="deploy", before=BEFORE, patience=PATIENCE)
        try:
            running = stack.enter_context(server)
        except AssertionError:
            if TOO_SLOW in log.read_text():
                pytest.skip("this machine is too busy for Ray to start its own processes in time")
            raise
        yield running


def replicas(server):
    """The processes of the replicas."""
    return actors_of(server.process.pid, b"ray::ServeReplica")


def asked(server, x):
    """The status and the output for an image, or None where the connection breaks."""
    try:
        status, _, body = server.request("POST", INFER, json.dumps(content(x)))
    except (http.client.HTTPException, OSError):
        return None, None
    return status, output(json.loads(body)) if status == 200 else body


def in_threads(function):
    """Runs a function of its number in as many threads as there are clients."""
    threads = [threading.Thread(target=function, args=(i,)) for i in range(CLIENTS)]
    for thread in threads:
        thread.start()
    return threads


@needs_ray
def test_a_replica_answers_and_refuses_as_the_server_does(on_ray, server, artifact):
    x = images(3)
    status, answer = on_ray.infer(content(x, id="mine"))
    assert (status, answer["id"], answer["model_name"]) == (200, "mine", "classifier")
    np.testing.assert_allclose(output(answer), export.load(artifact)(x), atol=1e-6)
    asked = [
        ("GET", "/v2", None, {}),
        ("GET", "/v2/health/ready", None, {}),
        ("GET", "/v2/models/classifier/versions/1", None, {}),
        ("GET", "/v2/models/classifier/versions/2", None, {}),
        ("GET", INFER, None, {}),
        ("GET", "/elsewhere", None, {}),
        ("POST", INFER, b"no JSON", {}),
        ("POST", INFER, b"{}", {"Content-Encoding": "gzip"}),
        ("POST", INFER, b"{}", {"Inference-Header-Content-Length": "3"}),
        ("POST", INFER, b" " * (2**24 + 1), {}),
        ("POST", INFER, json.dumps({"inputs": [tensor(x, shape=[3, 8, 8])]}), {}),
        ("POST", INFER, json.dumps({"inputs": [tensor(x, datatype="FP32")]}), {}),
        ("POST", INFER, json.dumps({"inputs": [tensor(x, name="other")]}), {}),
        ("POST", INFER, json.dumps(content(images(33))), {}),
        ("POST", INFER, json.dumps(content(x, outputs=[{"name": "other"}])), {}),
    ]
    for request in asked:
        (status, _, body), (expected, _, told) = on_ray.request(*request), server.request(*request)
        assert (status, body) == (expected, told), request[:2]
        assert expected < 500


def addresses(process):
    """The addresses that a process and its children listen on, as Linux tells them."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])

    def is_ours(one):
        return one == process or (one in parents and is_ours(parents[one]))

    sockets = set()
    for one in filter(is_ours, parents):
        with contextlib.suppress(OSError):
            for descriptor in Path(f"/proc/{one}/fd").iterdir():
                with contextlib.suppress(OSError):
                    sockets.add(os.readlink(descriptor))
    rows = [row.split() for kind in ("tcp", "tcp6") for row in Path(f"/proc/net/{kind}").read_text().splitlines()]
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets}


@needs_ray
@needs_proc
def test_nothing_listens_to_other_machines(on_ray):
    loopback = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    found = addresses(on_ray.process.pid)
    assert "0100007F" in found
    assert found <= loopback


@needs_ray
@needs_proc
def test_a_replica_is_killed_under_load_and_nothing_is_lost(on_ray, artifact):
    x = images(CLIENTS)
    expected = export.load(artifact)(x)
    answers, other = [[] for _ in range(CLIENTS)], []

    def client(i):
        for _ in range(REQUESTS):
            while True:
                status, given = asked(on_ray, x[i : i + 1])
                if status == 200:
                    break
                other.append((status, given))
                time.sleep(0.1)
            answers[i].append(given)

    before = replicas(on_ray)
    assert len(before) == 2
    threads = in_threads(client)
    while sum(map(len, answers)) < CLIENTS * REQUESTS / 4:
        time.sleep(0.01)
    killed = min(before)
    os.kill(killed, signal.SIGKILL)
    for thread in threads:
        thread.join(PATIENCE)
    assert [len(given) for given in answers] == [REQUESTS] * CLIENTS
    for i, given in enumerate(answers):
        np.testing.assert_allclose(np.concatenate(given), np.repeat(expected[i : i + 1], REQUESTS, 0), atol=1e-6)
    assert {status for status, _ in other} <= set(REPEATED), other
    # Another one takes its place.
    ends = time.monotonic() + PATIENCE
    while len(replicas(on_ray)) < 2 or killed in replicas(on_ray):
        assert time.monotonic() < ends
        time.sleep(0.1)


@needs_ray
def test_sigterm_drains_the_replicas(on_ray, artifact):
    x = images(CLIENTS)
    expected = export.load(artifact)(x)
    counts, broken = [0] * CLIENTS, []

    def client(i):
        while True:
            status, given = asked(on_ray, x[i : i + 1])
            if status != 200:
                # Ray's proxy knows no such path any more, or has ended.
                if status not in (404, 503, None):
                    broken.append((status, given))
                return
            np.testing.assert_allclose(given, expected[i : i + 1], atol=1e-6)
            counts[i] += 1

    threads = in_threads(client)
    while min(counts) < 2:
        time.sleep(0.01)
    assert on_ray.terminate() == 0
    for thread in threads:
        thread.join(PATIENCE)
    assert broken == []
    assert "ended" in on_ray.log.read_text()


@needs_ray
def test_the_number_of_replicas_follows_the_load_where_it_may():
    from export.serving.limits import Limits
    from export.serving.ray_serve import Replication, _make_deployment

    fixed = _make_deployment(Replication(3, 3, 1, "cpu"), Limits())
    assert (fixed.num_replicas, fixed._deployment_config.autoscaling_config) == (3, None)
    varying = _make_deployment(Replication(1, 4, 2, "cuda"), Limits(max_batch_size=16))
    scaling = varying._deployment_config.autoscaling_config
    assert (scaling.min_replicas, scaling.max_replicas, scaling.target_ongoing_requests) == (1, 4, 16)
    alone = _make_deployment(Replication(1, 4, 2, "cpu"), Limits(max_batch_size=16), batches=False)
    assert alone._deployment_config.autoscaling_config.target_ongoing_requests == 2
    assert varying.ray_actor_options == {"num_cpus": 2, "num_gpus": 1}


@needs_ray
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"replicas": 0}, "replicas=0"),
        ({"replicas": 3, "max_replicas": 2}, "max_replicas=2"),
        ({"cpus": 0}, "cpus=0"),
        ({"device": "tpu"}, "device='tpu'"),
        ({"max_batch_size": 0}, "max_batch_size=0"),
        ({"port": 99999}, "a port from 0 to 65535"),
    ],
)
def test_mistakes_are_told_before_ray_starts(options, said, artifact):
    with pytest.raises(ValueError, match=said):
        export.run_on_ray(artifact, **options)


@needs_ray
def test_what_is_no_artifact_or_a_spoiled_one_is_told_before_ray_starts(spoiled, tmp_path):
    with pytest.raises(FileNotFoundError, match="Expected an artifact"):
        export.run_on_ray(tmp_path)
    (spoiled / "model.onnx").write_bytes(b"x")
    with pytest.raises(export.VerificationError, match="changed model.onnx"):
        export.run_on_ray(spoiled)


def test_without_the_extra_the_command_names_it(artifact, monkeypatch, capsys):
    import zoo.cli

    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "export.serving.ray_serve", raising=False)
    monkeypatch.setattr(sys, "argv", ["keras-skip", "deploy", str(artifact), "--target", "ray"])
    with pytest.raises(SystemExit) as ended:
        zoo.cli.main()
    (line,) = capsys.readouterr().err.splitlines()
    assert (ended.value.code, line.startswith('Error: The extra "ray" is not installed')) == (1, True)
