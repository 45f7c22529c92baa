"""Serve this bundle over HTTP: `python server.py [--host HOST] [--port PORT]`.

Every option can also be set as an environment variable, SERVER_PORT for --port. A bearer token is
asked for where SERVER_TOKEN is set.
"""

from __future__ import annotations

import sys
from pathlib import Path

from fastapi import FastAPI
from inference import Engine
from runtime.http import application, process

BUNDLE = Path(__file__).resolve().parent


def create_app() -> FastAPI:
    """The application, with the settings that the environment holds."""
    return application.create_app(Engine, BUNDLE)


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to stop; see `--help`."""
    return process.serve(Engine, BUNDLE, "server:create_app", arguments)


if __name__ == "__main__":
    sys.exit(main())
