"""The server's process: its command line, uvicorn and its workers, logging, memory."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import math
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import uvicorn
from prometheus_client.multiprocess import mark_process_dead

from ..engine import InferenceEngine
from ..integrity import BundleError, proof, verify_files
from .authorization import read_tokens
from .connections import CLOSE, Connection
from .metrics import SHARED_FOLDER
from .settings import Settings, unknown_variables

log = logging.getLogger("server")
M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # as in malloc.h
# seconds in which a server that was told to stop still takes connections: who has one, or is about
# to open one, learns by an answer that it is to be closed
LEAVING_S = 0.5
# seconds between two looks at the workers
WATCH_S = 0.05
# of connections that nobody has taken yet
BACKLOG = 2048


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
        exit status: 1 where settings or bundle are wrong, or a worker cannot start.
    """
    try:
        settings = Settings.from_arguments(arguments, engine_class)
        read_tokens(settings.token_file)
        verify_files(bundle, only_model=True)
        proved = proof(bundle, settings.digest or None)
        listener = _bind(settings.host, settings.port)
    except (ValueError, BundleError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"note: {proved}", file=sys.stderr)
    for name in unknown_variables():
        print(f"warning: {name} is no setting of this server; see --help", file=sys.stderr)
    # workers are new processes: they read the settings from their environment
    os.environ.update(settings.to_environment())
    return _run(factory, bundle, settings, listener)


def _bind(host: str, port: int) -> socket.socket:
    """A socket with the address; whoever serves begins to listen once it can answer.

    Raises:
        ValueError: the address cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"cannot listen on {host}:{port}: {reason}; give another") from None
    listener.set_inheritable(True)
    return listener


def _run(factory: str, bundle: Path, settings: Settings, listener: socket.socket) -> int:
    # uvicorn raises the signal again once it has drained; stopping when told is no failure
    signal.signal(signal.SIGTERM, lambda *_: None)
    sys.path.insert(0, str(bundle))
    config = _Config(
        factory,
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        http=Connection,
        ws="none",
        backlog=BACKLOG,
        timeout_graceful_shutdown=math.ceil(settings.grace_s),
        access_log=False,
        log_config=LOGGING,
    )
    if settings.workers == 1:
        return _run_alone(config, listener)
    shared = Path(tempfile.mkdtemp(prefix="server-metrics-"))
    os.environ[SHARED_FOLDER] = str(shared)
    try:
        return _Supervisor(config, listener, shared).run()
    finally:
        shutil.rmtree(shared, ignore_errors=True)


def _run_alone(config: uvicorn.Config, listener: socket.socket) -> int:
    try:
        with suppress(KeyboardInterrupt):
            _Server(config).run([listener])
    except SystemExit:  # it could not start, and has said why
        return 1
    return 0


class _Config(uvicorn.Config):
    """uvicorn's, for an application that may refuse to be made."""

    def load(self) -> None:
        """Make the application, in the process that serves it.

        Raises:
            SystemExit: the bundle cannot be served; a line says why.
        """
        _end_with_parent()
        try:
            super().load()
        except (BundleError, ValueError) as error:
            log.error("%s", error)
            raise SystemExit(1) from None


def _end_with_parent() -> None:
    """A worker whose parent was killed stops, as if it had been told to."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


class _Server(uvicorn.Server):
    """uvicorn's, which loses nothing that was sent to it when it stops."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, and leave word of it."""
        await super().startup(sockets)
        if SHARED_FOLDER in os.environ:
            _started(Path(os.environ[SHARED_FOLDER]), os.getpid()).touch()
        else:
            _tell_address(sockets or ())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer whoever comes in the meantime, then what came last, and end."""
        # each answer closes its connection from now on
        self.server_state.default_headers = [*self.server_state.default_headers, CLOSE]
        for connection in list(self.server_state.connections):
            if isinstance(connection, Connection):
                connection.leave()
        if not self.force_exit:
            await asyncio.sleep(LEAVING_S)
        for listener in sockets or []:
            await self._take_waiting(listener)
        await super().shutdown(sockets)

    async def _take_waiting(self, listener: socket.socket) -> None:
        """Connections that the system has made and nobody has taken yet would be reset."""
        listener.setblocking(False)
        loop = asyncio.get_running_loop()
        while True:
            try:
                waiting, _ = listener.accept()
            except OSError:  # there is none
                return
            await loop.connect_accepted_socket(self._connection, waiting)

    def _connection(self) -> Connection:
        return Connection(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )


def _work(config: uvicorn.Config, listener: socket.socket) -> None:
    """What a worker does, in a process of its own."""
    config.configure_logging()
    with suppress(KeyboardInterrupt):
        _Server(config).run([listener])


class _Supervisor:
    """Keeps workers running; uvicorn's own would start one again and again that cannot start.

    Args:
        config: of the workers.
        listener: from which they take connections.
        shared: where they leave word, and their metrics.
    """

    def __init__(self, config: uvicorn.Config, listener: socket.socket, shared: Path) -> None:
        self._config, self._listener, self._shared = config, listener, shared
        self._spawning = multiprocessing.get_context("spawn")
        self._workers: list[SpawnProcess] = []
        self._is_told_to_stop = self._has_failed = False

    def run(self) -> int:
        """Until it is told to stop, or a worker cannot start; gives the exit status."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        self._config.configure_logging()
        self._start_workers()
        while self._goes_on:
            self._replace_dead()
            time.sleep(WATCH_S)
        # who comes from now on is the workers' to take, as long as one of them does
        self._listener.close()
        for worker in self._workers:
            worker.terminate()
        for worker in self._workers:
            worker.join()
        return 1 if self._has_failed else 0

    @property
    def _goes_on(self) -> bool:
        return not self._is_told_to_stop and not self._has_failed

    def _stop(self, *_: object) -> None:
        self._is_told_to_stop = True

    def _start_workers(self) -> None:
        """One, and the others once that has: what fails, fails once."""
        self._start_worker()
        while self._goes_on and not self._has_started(self._workers[0]):
            self._replace_dead()
            time.sleep(WATCH_S)
        if not self._goes_on:
            return
        _tell_address([self._listener])
        while len(self._workers) < self._config.workers:
            self._start_worker()

    def _replace_dead(self) -> None:
        for worker in list(self._workers):
            status = worker.exitcode
            if status is None:
                continue
            # what it counted for the moment counts no more
            mark_process_dead(worker.pid, str(self._shared))  # type: ignore[no-untyped-call]
            # one that was killed may start the next time
            if status > 0 and not self._has_started(worker):
                self._has_failed = True
                return
            log.warning("worker %d has ended; another one takes its place", worker.pid)
            self._workers.remove(worker)
            self._start_worker()

    def _start_worker(self) -> None:
        worker = self._spawning.Process(target=_work, args=(self._config, self._listener))
        worker.start()
        self._workers.append(worker)

    def _has_started(self, worker: SpawnProcess) -> bool:
        return _started(self._shared, worker.pid).exists()


def _started(shared: Path, pid: int | None) -> Path:
    """The file by which a worker leaves word that it listens."""
    return shared / f"started-{pid}"


def _tell_address(listeners: Sequence[socket.socket]) -> None:
    for listener in listeners:
        host, port = listener.getsockname()[:2]
        log.info("serving on http://%s:%d", f"[{host}]" if ":" in host else host, port)


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
