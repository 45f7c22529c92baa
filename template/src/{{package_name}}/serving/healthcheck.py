"""Is this container ready? Exit status 0 if so: `python healthcheck.py [torchserve]`."""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path


def server_is_ready() -> bool:
    """server.py answers /ready."""
    port = os.environ.get("SERVER_PORT", "8080")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=2) as answer:
        return bool(answer.status == 200)


def torchserve_is_ready() -> bool:
    """A worker of TorchServe is READY, as its management API says."""
    request = urllib.request.Request("http://127.0.0.1:8081/models/model")
    keys = Path("key_file.json")
    if keys.is_file():  # token authorization is on
        token = json.loads(keys.read_text(encoding="utf-8"))["management"]["key"]
        request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=2) as answer:
        workers = json.load(answer)[0]["workers"]
    return any(worker["status"] == "READY" for worker in workers)


def main() -> int:
    """Exit status for Docker."""
    try:
        ready = torchserve_is_ready() if sys.argv[1:] == ["torchserve"] else server_is_ready()
    except (urllib.error.URLError, TimeoutError, ValueError, LookupError) as error:
        print(f"not ready: {error}", file=sys.stderr)
        return 1
    return 0 if ready else 1


if __name__ == "__main__":
    sys.exit(main())
