"""The server's process: its command line, uvicorn and its workers, logging, memory."""

from __future__ import annotations

import ctypes
import gc
import math
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvicorn

from ..engine import InferenceEngine
from ..integrity import BundleError, verify_files
from .metrics import SHARED_FOLDER
from .settings import Settings

M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # as in malloc.h


def serve(
    engine_class: type[InferenceEngine],
    bundle: Path,
    factory: str,
    arguments: Sequence[str] | None = None,
) -> int:
    """Serve until told to stop.

    Args:
        engine_class: of this bundle.
        bundle: its folder.
        factory: `module:function` in that folder that makes the application, in each worker anew.
        arguments: of the command line; the process's own by default.

    Returns:
        exit status: 1 where settings or bundle are wrong.
    """
    try:
        settings = Settings.from_arguments(arguments, engine_class.item_unit)
        verify_files(bundle, only_model=True)
    except (ValueError, BundleError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    # workers are new processes: they read the settings from their environment
    os.environ.update(settings.to_environment())
    _run(factory, bundle, settings)
    return 0


def _run(factory: str, bundle: Path, settings: Settings) -> None:
    # uvicorn raises the signal again once it has drained; stopping when told is no failure
    signal.signal(signal.SIGTERM, lambda *_: None)
    shared = tempfile.mkdtemp(prefix="server-metrics-") if settings.workers > 1 else None
    if shared:
        os.environ[SHARED_FOLDER] = shared
    try:
        uvicorn.run(
            factory,
            factory=True,
            app_dir=str(bundle),
            host=settings.host,
            port=settings.port,
            workers=settings.workers,
            timeout_graceful_shutdown=math.ceil(settings.grace_s),
            access_log=False,
            log_config=LOGGING,
        )
    finally:
        if shared:
            shutil.rmtree(shared, ignore_errors=True)


def give_memory_back() -> None:
    """Tell glibc to return large blocks to the system.

    Left alone it keeps them once they were freed, for every thread anew, and the server grows to
    many times the largest request.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):  # other C libraries do it anyway
            libc.mallopt(M_ARENA_MAX, 2)
            libc.mallopt(M_MMAP_THRESHOLD, 1 << 20)


def leave_to_the_collector_what_is_new() -> None:
    """Take all that exists now out of what the garbage collector looks through.

    It stays until the end: libraries, routes, the model. Looking through it again and again was
    the longest pause of a server under load.
    """
    gc.collect()
    gc.freeze()


LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "plain": {"format": "%(levelname)s %(message)s"},
        "bare": {"format": "%(message)s"},
    },
    "handlers": {
        "messages": {"class": "logging.StreamHandler", "formatter": "plain"},
        "access": {
            "class": "logging.StreamHandler",
            "formatter": "bare",
            "stream": "ext://sys.stdout",
        },
    },
    "loggers": {
        "server": {"handlers": ["messages"], "level": "INFO", "propagate": False},
        "server.access": {"handlers": ["access"], "level": "INFO", "propagate": False},
        "uvicorn": {"handlers": ["messages"], "level": "INFO", "propagate": False},
    },
}
