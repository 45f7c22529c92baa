"""A bundle's server, run for whoever looks at its pages."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rendering import UNMEASURED


@dataclass(frozen=True)
class Served:
    """A running server.

    Attributes:
        url: where it is.
        bundle: what it serves.
    """

    url: str
    bundle: Path

    def ask(self, path: str, body: bytes | None = None, media_type: str = "text/plain") -> Any:
        """What the API answers, errors too."""
        request = urllib.request.Request(f"{self.url}/{path}", body)  # noqa: S310 - our own
        request.add_header("Content-Type", media_type)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                return json.load(answer)
        except urllib.error.HTTPError as refused:
            with refused:
                return json.load(refused)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def serving(bundle: Path, *options: str, **env: str) -> Iterator[Served]:
    """Run the bundle's server until it is ready, and stop it afterwards."""
    port = free_port()
    command = [sys.executable, "-B", str(bundle / "server.py"), "--port", str(port), *options]
    served = Served(f"http://127.0.0.1:{port}", bundle)
    with subprocess.Popen(
        command,
        env=os.environ | UNMEASURED | env,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    ) as process:
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    served.ask("ready")
                    break
                except OSError:
                    assert process.poll() is None
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
            yield served
        finally:
            process.terminate()
