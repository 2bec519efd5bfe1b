"""onnxruntime-web, which runs ONNX files in browsers: the pinned version from npm, kept in the cache folder.

KERAS_SKIP_ONNXRUNTIME_WEB may name npm's package (.tgz) or a folder with its files, for a machine without a network.
"""

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from ..storage.manifest import hash_file
from .target import Unavailable

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
# The SHA-512 of the package, as npm publishes it, and the SHA-256 of each file that is used.
_SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
FILES = {
    "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
    "ort-wasm-simd-threaded.mjs": "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
LOCAL = "KERAS_SKIP_ONNXRUNTIME_WEB"
_SECONDS = 600


def find_runtime() -> Path:
    """Returns a folder with the files of onnxruntime-web, downloaded if necessary.

    Raises:
        Unavailable: If they cannot be found or downloaded, or their hashes are wrong.
    """
    if given := os.environ.get(LOCAL):
        path = Path(given)
        return _check_folder(path) if path.is_dir() else _unpack(path)
    cached = _cache_folder()
    return cached if is_complete(cached) else _download()


def _cache_folder() -> Path:
    if chosen := os.environ.get("KERAS_SKIP_CACHE"):
        base = Path(chosen)
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "keras-skip"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches" / "keras-skip"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keras-skip"
    return base / PACKAGE / VERSION


def is_complete(folder: Path) -> bool:
    """Whether a folder holds the files of this version, unchanged."""
    return all((folder / name).is_file() and hash_file(folder / name) == digest for name, digest in FILES.items())


def _check_folder(folder: Path) -> Path:
    if not is_complete(folder):
        raise Unavailable(
            f"Expected the files {', '.join(FILES)} of {PACKAGE} {VERSION} in {LOCAL}. Received: {folder}, where some "
            "are missing or different"
        )
    return folder


def _download() -> Path:
    """Downloads the package with npm, and unpacks it into the cache."""
    npm = shutil.which("npm")
    if npm is None:
        raise Unavailable(
            f"The target web needs npm, which downloads {PACKAGE} {VERSION}, or that package in {LOCAL}. "
            "Received: no npm, and nothing in the cache"
        )
    with tempfile.TemporaryDirectory(prefix="keras-skip-") as folder:
        command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--silent", "--pack-destination", folder]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            raise Unavailable(f"npm did not download {PACKAGE} {VERSION} within {_SECONDS} seconds.") from None
        if done.returncode != 0:
            said = " ".join(done.stderr.split())[-300:]
            raise Unavailable(f"npm cannot download {PACKAGE} {VERSION}: {said or f'exit code {done.returncode}'}")
        return _unpack(next(Path(folder).glob("*.tgz")))


def _unpack(package: Path) -> Path:
    """Checks the hash of the package, and unpacks its files into the cache."""
    try:
        with package.open("rb") as file:
            found = base64.b64encode(hashlib.file_digest(file, "sha512").digest()).decode()
    except OSError as error:
        raise Unavailable(f"Expected {PACKAGE} {VERSION} in {LOCAL}. Received: {package} ({error.strerror})") from error
    if found != _SHA512:
        raise Unavailable(
            f"Expected {PACKAGE} {VERSION} with the hash sha512-{_SHA512}. Received: {package}, with sha512-{found}"
        )
    folder = _cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(package) as archive:
        for name in FILES:
            content = archive.extractfile(f"package/dist/{name}")
            assert content is not None
            # Another export may be unpacking the same file.
            with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{name}-", delete=False) as beside:
                shutil.copyfileobj(content, beside)
            os.replace(beside.name, folder / name)
    return folder
