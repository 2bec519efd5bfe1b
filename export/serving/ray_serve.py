"""Runs replicas on Ray: each is an actor that answers with the application that `serve` runs.

Ray's proxy speaks HTTP and hands each request to the replica with the fewest. The replica parses, checks, batches and
refuses requests, as a server does. It takes requests once it has reproduced the outputs recorded at export. Ray
replaces a replica that dies, or whose model fails on the recorded inputs.
"""

import math
import os
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import serve

from ..errors import ExportError
from ..runtime.providers import Device, check_device, takes_gpu
from ..runtime.ray_cluster import bind_to_localhost
from ..storage.manifest import is_batchable, read_manifest, why_not_batchable
from .application import Service
from .limits import Limits
from .model import load_models
from .observation import SERVER, Metrics, announce, start_logging

_APPLICATION = "keras-skip"
# Ray gives up on a replica after this many failed attempts to build it.
_ATTEMPTS = 2


@dataclass(frozen=True)
class Replication:
    """The number of replicas, and the resources of each.

    Attributes:
        replicas: The number of replicas, or the least if it varies.
        max_replicas: The most replicas; their number follows the load between the two.
        cpus: The cores that are reserved for a replica, whose onnxruntime has as many threads.
        device: The device, as in `load`; one of NVIDIA's reserves a GPU for each replica.
    """

    replicas: int
    max_replicas: int
    cpus: float
    device: Device

    def __post_init__(self) -> None:
        check_device(self.device)
        if not (1 <= self.replicas <= self.max_replicas and self.cpus > 0):
            raise ValueError(
                "Expected at least 1 replica, max_replicas no fewer, and cpus above 0. "
                f"Received: replicas={self.replicas}, max_replicas={self.max_replicas}, cpus={self.cpus}"
            )


class Replica:
    """One copy of the models, each with a queue of its own.

    Args:
        artifacts: Folders of artifacts, each with its name for clients; None is the artifact's name.
        replication: The resources of the replica.
        limits: The limits of the replica.
        token: The token that every client must send, if there is one.
        here: Whether all of Ray is on this machine.
    """

    def __init__(
        self,
        artifacts: Sequence[tuple[Path, str | None]],
        replication: Replication,
        limits: Limits,
        token: str | None,
        here: bool,
    ) -> None:
        if here:
            _bind_replica_to_localhost()
        metrics, threads = Metrics(), math.ceil(replication.cpus)
        models = load_models(artifacts, replication.device, limits, metrics, threads)
        # A scraper would reach a random replica; Ray has metrics of all.
        self._service = Service(models, limits, metrics, token, serves_metrics=False)
        for model in models.values():
            model.warm_up()

    def __serve_build_asgi_app__(self) -> Any:
        return self._service.application

    def check_health(self) -> None:
        """Raises an ExportError if a model has failed on the recorded inputs."""
        if not self._service.ready:
            raise ExportError("A model fails on the inputs recorded at export.")


def run(
    artifacts: Sequence[tuple[Path, str | None]],
    address: str,
    replication: Replication,
    limits: Limits,
    token: str | None,
    http: dict[str, Any],
) -> None:
    """Runs replicas until SIGTERM or SIGINT; see `run_on_ray`."""
    log = start_logging(access_log=False)
    # Ray reports usage only if the user says so.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    manifests, here = [read_manifest(path) for path, _ in artifacts], address == "local"
    for reason in filter(None, map(why_not_batchable, manifests)):
        SERVER.info("%s", reason)
    with bind_to_localhost() if here else nullcontext():
        _start(ray.init, address, log_to_driver=False)
    try:
        timeouts = {"request_timeout_s": limits.timeout, "keep_alive_timeout_s": limits.timeout}
        _start(serve.start, http_options=http | timeouts)
        if _APPLICATION in serve.status().applications:
            raise ExportError(f"The cluster {address} already runs keras-skip.")
        announce(**http)
        try:
            deployment = _make_deployment(replication, limits, any(map(is_batchable, manifests)))
            application = deployment.bind(artifacts, replication, limits, token, here)
            _start(serve.run, application, name=_APPLICATION)
            SERVER.info("ready: %d replicas", replication.replicas)
            _wait_for_signal()
        finally:
            # Replicas finish the requests in flight.
            serve.delete(_APPLICATION)
        SERVER.info("ended")
    finally:
        # Others may use the same cluster.
        if not serve.status().applications:
            serve.shutdown()
        ray.shutdown()
        log.stop()


def _start(start: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    try:
        start(*arguments, **options)
    except Exception as error:  # Ray's exceptions have no common base.
        raise ExportError(f"Ray or a replica does not start: {error}") from error


def _bind_replica_to_localhost() -> None:
    """Makes a replica listen only to this machine; it would listen to other replicas on all interfaces."""
    from ray.serve._private import replica

    listen = replica.add_port_to_grpc_server
    replica.add_port_to_grpc_server = lambda server, address: listen(server, address.replace("[::]", "127.0.0.1"))


def _make_deployment(replication: Replication, limits: Limits, batches: bool = True) -> Any:
    # A replica itself refuses requests beyond its queue. Ray only limits those that wait for a replica to exist.
    size = limits.queue + limits.max_batch_size
    options: dict[str, Any] = {
        "name": "Replica",
        "ray_actor_options": {"num_cpus": replication.cpus, "num_gpus": int(takes_gpu(replication.device))},
        "max_ongoing_requests": 2 * size,
        "max_queued_requests": limits.queue,
        "backpressure_config": {"retry_after_s": 1},
        "graceful_shutdown_timeout_s": limits.timeout,
        "health_check_period_s": 2,
        "max_constructor_retry_count": _ATTEMPTS,
    }
    if replication.replicas == replication.max_replicas:
        options["num_replicas"] = replication.replicas
    else:
        options["autoscaling_config"] = {
            "min_replicas": replication.replicas,
            "max_replicas": replication.max_replicas,
            # This many fill one batch while another runs; without batches, one runs and one waits.
            "target_ongoing_requests": limits.max_batch_size if batches else 2,
        }
    return serve.deployment(serve.ingress()(Replica)).options(**options)


def _wait_for_signal() -> None:
    stopped = threading.Event()
    before = {each: signal.signal(each, lambda *_: stopped.set()) for each in (signal.SIGTERM, signal.SIGINT)}
    while not stopped.wait(1):
        pass
    for each, handler in before.items():
        signal.signal(each, handler)
