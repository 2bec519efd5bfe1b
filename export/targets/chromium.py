"""Runs the page of a folder in a headless Chromium, which can load nothing but that folder.

Opened with `?prove`, the page reads batches from proof/inputs and posts its answers to proof/answers, both in the
format of `exchange.py`, or an error message to proof/failure.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ..errors import ExportError
from ..limits import watch_process
from ..storage.arrays import Batch
from .exchange import pack, unpack
from .target import Unavailable

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
_PATH = "CHROMIUM"
_PERIOD = 0.2
_SWITCHES = (
    "--headless=new",
    "--disable-gpu",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
    "--no-first-run",
    # No host but this one: the folder has to hold everything.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)


def find_chromium() -> str:
    """Returns the path of a Chromium.

    Raises:
        Unavailable: If there is none.
    """
    found = os.environ.get(_PATH) or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise Unavailable(f"No Chromium was found: none of {', '.join(NAMES)} is on the path, and {_PATH} is not set.")
    return found


class _Proof:
    """The inputs that the page gets, and its answers."""

    def __init__(self, batches: Mapping[str, Batch]) -> None:
        self.inputs, self.received = pack(batches), threading.Event()
        self.answers: bytes | None = None
        self.failure: str | None = None
        self.opened = False


class _Handler(SimpleHTTPRequestHandler):
    """Serves the folder, and the proof."""

    def __init__(self, proof: _Proof, *arguments: object, **options: object) -> None:
        self.proof = proof
        super().__init__(*arguments, **options)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self.proof.opened = True
        if self.path != "/proof/inputs":
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.proof.inputs)))
        self.end_headers()
        self.wfile.write(self.proof.inputs)

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/proof/answers":
            self.proof.answers = content
        else:
            self.proof.failure = content.decode("utf-8", "replace")
        self.send_response(204)
        self.end_headers()
        self.proof.received.set()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


def compute_in_page(folder: Path, batches: Mapping[str, Batch]) -> dict[str, Batch]:
    """Opens a folder's index.html, and returns the answers that it computes to batches.

    Raises:
        Unavailable: If there is no Chromium, or it does not start.
        ExportError: If the page fails, or takes too much time or memory.
    """
    chromium, proof = find_chromium(), _Proof(batches)
    with _serve(folder, proof) as port, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [chromium, *_SWITCHES, f"--user-data-dir={profile}"]
        if sys.platform == "linux" and os.geteuid() == 0:
            # Chromium refuses to start its sandbox as root.
            command.append("--no-sandbox")
        said = Path(profile) / "said"
        with said.open("wb") as log:
            process = subprocess.Popen(
                [*command, f"http://127.0.0.1:{port}/index.html?prove"], stdout=subprocess.DEVNULL, stderr=log
            )
        with process:
            try:
                with watch_process(process.pid, process.kill) as exceeded:
                    while not proof.received.wait(_PERIOD) and process.poll() is None:
                        pass
            finally:
                process.kill()
        lines = said.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    if proof.failure is not None:
        raise ExportError(f"The page cannot compute: {proof.failure}")
    if exceeded:
        raise ExportError(f"Stopped the page in {chromium}: it took {exceeded[0]}.")
    if proof.answers is None:
        said_last = f" It said: {lines[-1][-300:]}" if lines else ""
        kind = ExportError if proof.opened else Unavailable
        raise kind(f"{chromium} ended with exit code {process.returncode} before the page had answered.{said_last}")
    return unpack(proof.answers)


@contextmanager
def _serve(folder: Path, proof: _Proof) -> Iterator[int]:
    """Serves a folder on localhost, and yields the port."""
    handler = partial(_Handler, proof, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(_PERIOD,), daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
