"""The steps before a server runs that need none of its libraries: the token, the socket and the open files."""

import socket
import sys
from contextlib import suppress
from pathlib import Path

from ..errors import error_line

# The most open files that macOS lets a process have, although it says that there is no limit.
_MACOS_FILES = 10240


def missing_extra(extra: str, error: ModuleNotFoundError) -> ValueError:
    """Returns the error for an extra that is not installed."""
    return ValueError(
        f'The extra "{extra}" is not installed ({error}). Install it with pip install ".[{extra}]" in a checkout of '
        "keras-skip."
    )


def read_token(path: str | Path | None) -> str | None:
    """Reads a bearer token from a file, if there is one.

    Raises:
        ValueError: If the file cannot be read, or holds no token.
    """
    if path is None:
        return None
    try:
        token = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"Expected a file with a token. Received: {path} ({error_line(error)})") from error
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError(f"Expected a token of ASCII characters without spaces in {path}. Received: something else")
    return token


def check_port(name: str, port: int) -> None:
    """Raises a ValueError if an argument is not the number of a port; 0 takes a free one."""
    if not 0 <= port < 2**16:
        raise ValueError(f"Expected a port from 0 to {2**16 - 1}. Received: {name}={port}")


def listen(host: str, port: int) -> socket.socket:
    """Opens a socket that listens; port 0 takes a free one.

    Raises:
        OSError: If the address is taken or is not this machine's.
        ValueError: If there is no such port.
    """
    check_port("port", port)
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise OSError(f"The server cannot listen on {host}:{port}: {error}") from error


def allow_many_connections() -> None:
    """Raises this process's own limit on open files as far as the system lets it."""
    if sys.platform == "win32":
        return
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MACOS_FILES if sys.platform == "darwin" and most > _MACOS_FILES else most
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
