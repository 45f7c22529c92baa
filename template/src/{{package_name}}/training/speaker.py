"""Which of several processes prints what all of them have to say. Lightning need not be loaded."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import sys
import threading
from datetime import timedelta
from typing import TYPE_CHECKING

from ..errors import ProcessLost

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

# a process that has ended keeps nobody waiting for longer
SECONDS = 3.0


# where whoever started a process says its number, in the order in which Lightning looks
RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")


def process_rank() -> int:
    """Number of this process among all, known before they are connected; 0 is the first."""
    lightning = sys.modules.get("lightning.fabric.utilities.rank_zero")
    if lightning is not None:
        return int(lightning.rank_zero_only.rank)
    return next((int(os.environ[name]) for name in RANKS if name in os.environ), 0)


def may_say(what: Exception | str) -> bool:
    """Whether this process is to print an error or a warning: the first one that asks is.

    The processes of a run know each other by MASTER_ADDR and MASTER_PORT, where torchrun or the
    first process keeps a store. That others are lost is worth saying where nobody said why.
    """
    if "MASTER_PORT" not in os.environ:
        return True
    store = _find_store()
    try:
        return _speaks_without_store(what) if store is None else _is_first(store, what)
    except RuntimeError:  # it has ended meanwhile
        return _speaks_without_store(what)


def _find_store() -> Store | None:
    address = os.environ.get("MASTER_ADDR", "127.0.0.1"), int(os.environ["MASTER_PORT"])
    try:  # torch would go on trying for as long as it may
        socket.create_connection(address, timeout=SECONDS).close()
    except OSError:
        return None
    # where there is one process, a wrong setting is told without waiting for this
    from torch._C._distributed_c10d import TCPStore

    found: list[Store] = []

    def connect() -> None:
        with contextlib.suppress(RuntimeError, ValueError):  # nobody keeps one there
            store = TCPStore(
                *address,
                is_master=False,
                wait_for_workers=False,
                timeout=timedelta(seconds=SECONDS),
            )
            found.append(store)

    # another program that has taken the port may never answer, which no timeout of torch ends
    thread = threading.Thread(target=connect, daemon=True, name="find-store")
    thread.start()
    thread.join(SECONDS + 1)
    return found[0] if found else None


def _is_first(store: Store, what: Exception | str) -> bool:
    # torchrun keeps its store when it starts the processes anew
    attempt = f"{__package__}/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    if isinstance(what, str):
        return bool(store.add(f"{attempt}/warning/{_digest(what)}", 1) == 1)
    errors = store.add(f"{attempt}/errors", 1)
    if isinstance(what, ProcessLost):
        return bool(errors == 1)
    return bool(store.add(f"{attempt}/error/{_digest(f'{type(what)} {what}')}", 1) == 1)


def _speaks_without_store(what: Exception | str) -> bool:
    """Once they were connected, the first process has kept the store, and has said why it ended.

    If it was killed it has not; so the second one says that it is lost.
    """
    import torch.distributed as dist

    rank = dist.get_rank() if dist.is_initialized() else 0
    return rank == 0 or (rank == 1 and isinstance(what, ProcessLost))


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
