"""Is this container ready? Exit status 0 if so: `python healthcheck.py [torchserve]`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path

SERVER = Path(__file__).resolve().with_name("server.py")
PROCESSES = Path("/proc")
# as server.py has them where nothing else is said
HOST, PORT = "127.0.0.1", 8080
# addresses to listen on that stand for all, and where they are reached from here
LOOPBACK = {"": HOST, "0.0.0.0": HOST, "::": "::1"}
TIMEOUT_S = 2.0


def server_is_ready() -> bool:
    """server.py answers /ready."""
    return _get(*server_address(), "/ready")[0] == 200


def torchserve_is_ready() -> bool:
    """A worker of TorchServe is READY, as its management API says."""
    headers = {}
    keys = Path("key_file.json")
    if keys.is_file():  # token authorization is on
        token = json.loads(keys.read_text(encoding="utf-8"))["management"]["key"]
        headers["Authorization"] = f"Bearer {token}"
    status, body = _get(HOST, 8081, "/models/model", headers)
    if status != 200:
        raise ValueError(f"its management API answers {status}")
    return any(worker["status"] == "READY" for worker in json.loads(body)[0]["workers"])


def server_address() -> tuple[str, int]:
    """Host and port on which the server listens, however they were given to it."""
    arguments, environment = next(_servers(), ((), os.environ))
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--host", default=environment.get("SERVER_HOST", HOST))
    parser.add_argument("--port", default=environment.get("SERVER_PORT", ""))
    options, _ = parser.parse_known_args(arguments)
    # Kubernetes sets SERVER_PORT to tcp://... beside a service of the name "server"
    port = int(options.port) if options.port.isdecimal() else PORT
    return LOOPBACK.get(options.host, options.host), port


def _servers() -> Iterator[tuple[Sequence[str], Mapping[str, str]]]:
    """Arguments and environment of each process that runs the server.py beside this file."""
    numbers = sorted(int(path.name) for path in PROCESSES.glob("[0-9]*"))
    for process in (PROCESSES / str(number) for number in numbers):
        try:
            command = _strings(process / "cmdline")
            if not any(part.endswith(SERVER.name) for part in command):
                continue
            here = (process / "cwd").readlink()
            variables = _strings(process / "environ")
        except OSError:  # it has ended, or is somebody else's
            continue
        for number, part in enumerate(command):
            if part.endswith(SERVER.name) and (here / part).resolve() == SERVER:
                pairs = (variable.partition("=") for variable in variables)
                yield command[number + 1 :], {name: value for name, _, value in pairs}


def _strings(path: Path) -> list[str]:
    return [os.fsdecode(part) for part in path.read_bytes().split(b"\0")[:-1]]


def _get(
    host: str, port: int, path: str, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    """Status and body; no proxy is asked, whatever the environment says."""
    connection = HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def main() -> int:
    """Exit status for Docker."""
    try:
        ready = torchserve_is_ready() if sys.argv[1:] == ["torchserve"] else server_is_ready()
    except (OSError, HTTPException, ValueError, LookupError, OverflowError) as error:
        print(f"not ready: {error}", file=sys.stderr)
        return 1
    return 0 if ready else 1


if __name__ == "__main__":
    sys.exit(main())
