"""How fast a bundle answers: its command, its network, and its server beside others."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from .harness import (
    ROOT,
    Project,
    Row,
    Scale,
    Target,
    Way,
    benchmark,
    interleave,
    project,
    seconds,
    temporary_folder,
    versions,
)
from .load import LoadError, Measured, ask, free_port, keep_busy, request_of

SERVERS = f"{__package__}.servers"
OURS, LOOP = "server.py", "a bare loop"
CONCURRENCY = (1, 16)
# by how much a server of ours is to be ahead of the best, by concurrency
AHEAD = {1: 1.5, 16: 1.2}
BATCH = 16
IMAGES = 64
# seconds until a server of somebody else has begun
START = 120.0
BEGINNING = (
    "When profiled, 11 ms beyond onnxruntime were the bundle's own modules, 10 ms Pillow and 12 ms "
    "its formats, 8 ms the session with its network, and 2 ms the image."
)
WHY = {
    1: "All servers do the same work for an image, with caches that another process has used in "
    "between: decoding takes 0.18 ms instead of the 0.08 ms of a loop, the network 0.35 ms instead "
    "of 0.25 ms. What is left to gain is a hop between processes, about 0.1 ms.",
    16: "Ours is one Python process. Of 0.35 ms that a request took when it was profiled, in runs "
    "of 16, the network took 0.14 ms, decoding 0.09 ms, and HTTP, log and metrics 0.09 ms. mosec "
    "does HTTP in Rust, on the other core. Its batches cost it two thirds of its answers where "
    "requests come one at a time; ours is one setting for both.",
}


class WrongAnswerError(Exception):
    """A contender does something else than the others; the message says what."""


# --- what is served ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Served:
    """A bundle, and images to ask it about.

    Attributes:
        bundle: its folder.
        images: files, as clients send them.
        answers: what the bundle's own `inference.py` says of each.
    """

    bundle: Path
    images: Sequence[bytes]
    answers: Sequence[Mapping[str, Any]]


def served(made: Project, scale: Scale) -> Served:
    """The bundle of the default project after a few steps, validation images, and its answers."""
    steps = "2" if scale.toy else "60"
    options = ["--max_steps", steps, "--export_formats", "onnx,pytorch"]
    subprocess.run(
        made.command("train", *options), check=True, env=made.environment, capture_output=True
    )
    [bundle] = (made.folder / "exports").iterdir()
    files = sorted((made.folder / "data" / "val").rglob("*.png"))[: 4 if scale.toy else IMAGES]
    command = [sys.executable, "-B", str(bundle / "inference.py"), "--input", *map(str, files)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    for answer in answers:
        del answer["input"]
    return Served(bundle, [file.read_bytes() for file in files], answers)


def check_answer(name: str, answer: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Hold an answer against that of `inference.py`, up to how sums are rounded in a batch.

    Raises:
        WrongAnswerError: it is another.
    """
    shares, wanted = answer["probabilities"], expected["probabilities"]
    is_same = answer["class"] == expected["class"] and shares.keys() == wanted.keys()
    if not is_same or any(abs(shares[key] - wanted[key]) > 1e-5 for key in wanted):
        raise WrongAnswerError(f"{name} answers {answer}, and inference.py {expected}")


# --- servers -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Contender:
    """A server.

    Attributes:
        name: of it, and of how it is set.
        version: of the packages it consists of.
        command: runs it; gets a bundle's folder, a port and a folder of its own.
        path: where it takes images.
        batch: most items in one run.
    """

    name: str
    version: str
    command: Callable[[Path, int, Path], list[str]]
    path: str
    batch: int = 1


def ours(bundle: Path, port: int, folder: Path) -> list[str]:
    """The bundle's own server as it comes."""
    return [sys.executable, "-B", str(bundle / "server.py"), "--port", str(port)]


def module(name: str) -> Callable[[Path, int, Path], list[str]]:
    """A module of `servers/`, which reads its environment."""
    return lambda *_: [sys.executable, "-B", "-m", f"{SERVERS}.{name}"]


def bentoml_command(bundle: Path, port: int, folder: Path) -> list[str]:
    """`bentoml serve`."""
    options = ["--host", "127.0.0.1", "--port", str(port), "--working-dir", str(ROOT)]
    service = f"{SERVERS}.bentoml_server:Model"
    return [sys.executable, "-B", "-m", "bentoml", "serve", service, *options]


def torchserve_command(bundle: Path, port: int, folder: Path) -> list[str]:
    """TorchServe with the bundle as its Dockerfile packs it."""
    store = folder / "store"
    store.mkdir()
    archiver = Path(sys.executable).with_name("torch-model-archiver")
    options = {
        "--model-name": "model",
        "--version": "1.0",
        "--handler": bundle / "torchserve" / "handler.py",
        "--config-file": bundle / "torchserve" / "model-config.yaml",
        "--extra-files": bundle,
        "--export-path": store,
    }
    parts = [str(part) for pair in options.items() for part in pair]
    subprocess.run([str(archiver), *parts], check=True, capture_output=True)
    text = (bundle / "torchserve" / "config.properties").read_text("utf-8")
    text = text.replace("0.0.0.0:8080", f"127.0.0.1:{port}")
    for taken in ("8081", "8082"):
        text = text.replace(f"127.0.0.1:{taken}", f"127.0.0.1:{free_port()}")
    text = text.replace("disable_token_authorization=false", "disable_token_authorization=true")
    text += f"grpc_inference_port={free_port()}\ngrpc_management_port={free_port()}\n"
    (folder / "config.properties").write_text(text, "utf-8")
    command = [str(Path(sys.executable).with_name("torchserve")), "--foreground"]
    settings = ["--ts-config", str(folder / "config.properties")]
    return [*command, "--model-store", str(store), *settings]


def contenders() -> list[Contender]:
    """All that can run here; those that make batches, once with and once without."""
    found = [
        Contender(OURS, f"ours, {versions('uvicorn', 'fastapi')}", ours, "/predictions/model"),
        Contender("mosec", versions("mosec"), module("mosec_server"), "/inference"),
        Contender("mosec, batches", versions("mosec"), module("mosec_server"), "/inference", BATCH),
        Contender("LitServe", versions("litserve"), module("litserve_server"), "/predict"),
        Contender(
            "LitServe, batches",
            versions("litserve"),
            module("litserve_server"),
            "/predict",
            BATCH,
        ),
        Contender("BentoML", versions("bentoml"), bentoml_command, "/predict"),
    ]
    if shutil.which("java"):
        found.append(
            Contender(
                "TorchServe", versions("torchserve"), torchserve_command, "/predictions/model", 8
            )
        )
    return found


@dataclass(frozen=True)
class Running:
    """A server that answers as it should.

    Attributes:
        contender: which.
        port: where.
        requests: one for each image.
        measured: what it did in each round, by concurrency; the first round does not count.
    """

    contender: Contender
    port: int
    requests: Sequence[bytes]
    measured: dict[int, list[Measured]] = field(default_factory=dict)

    def load(self, concurrency: int, duration: float) -> float:
        """Requests a second while so many are under way, for so many seconds."""
        found = keep_busy(self.port, self.requests, concurrency, duration)
        self.measured.setdefault(concurrency, []).append(found)
        return found.rate

    def way(self, concurrency: int, value: Callable[[Measured], float]) -> Way:
        """The contender of a row."""
        values = [value(found) for found in self.measured[concurrency][1:]]
        return Way(self.contender.name, self.contender.version, values)


@contextmanager
def running(contender: Contender, what: Served, folder: Path) -> Iterator[Running]:
    """Start a server, hold its answers against those of `inference.py`, and end it afterwards."""
    port = free_port()
    own = folder / contender.name.replace(", ", "-")
    own.mkdir()
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "BUNDLE": str(what.bundle),
        "PORT": str(port),
        "THREADS": str(threads()),
        "BATCH": str(contender.batch),
        "BENTOML_HOME": str(own),
        "BENTOML_DO_NOT_TRACK": "1",
        "LOG_LOCATION": str(own),
        "METRICS_LOCATION": str(own),
        "TEMP": str(own),
    }
    command = contender.command(what.bundle, port, own)
    with (own / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=own, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    requests = [
        request_of(contender.path, image, "application/octet-stream") for image in what.images
    ]
    try:
        _wait_until_it_answers(process, contender, port, requests[0], own / "log")
        for request, expected in zip(requests, what.answers, strict=True):
            check_answer(contender.name, json.loads(ask(port, request).body), expected)
        yield Running(contender, port, requests)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with suppress(ProcessLookupError):  # workers that outlive who started them
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def threads() -> int:
    """Threads of one run, the same for all: what the bundle's server takes by itself."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def _wait_until_it_answers(
    process: subprocess.Popen[bytes], contender: Contender, port: int, request: bytes, log: Path
) -> None:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if ask(port, request).status == 200:
                return
        except (OSError, LoadError):
            pass
        time.sleep(0.2)
    raise WrongAnswerError(f"{contender.name} does not begin:\n{log.read_text('utf-8')[-3000:]}")


# --- rows ----------------------------------------------------------------------------------------


@benchmark("Serving a bundle", minutes=15)
def serving(scale: Scale) -> Iterator[Row]:
    """The bundle's server beside others and a bare loop, its network, and its command."""
    with project("vision") as made:
        what = served(made, scale)
        yield from command(made, what, scale)
        yield from network(what, scale)
        yield from servers(what, scale)


def servers(what: Served, scale: Scale) -> Iterator[Row]:
    """Requests a second, and what the slowest of a hundred take."""
    duration = 0.2 if scale.toy else 3.0
    loop = BareLoop(what)
    with temporary_folder() as folder, ExitStack() as stack:
        # all are up, and loaded in turns: one that waits costs nothing
        up = [stack.enter_context(running(one, what, folder)) for one in contenders()]
        loads = {
            f"{one.contender.name} at {concurrency}": partial(one.load, concurrency, duration)
            for one in up
            for concurrency in CONCURRENCY
        }
        values = interleave({LOOP: lambda: loop.rate(duration), **loads}, scale)
    if scale.rounds:
        for concurrency in CONCURRENCY:
            yield rates(up, concurrency)
            yield slowest(up, concurrency)
        yield beside_the_loop(up[0], values[LOOP])
        yield spread_of_latencies(up[0])


def rates(up: Sequence[Running], concurrency: int) -> Row:
    """Requests a second."""
    ways = [one.way(concurrency, lambda found: found.rate) for one in up]
    best = max(ways[1:], key=lambda way: statistics.median(way.values))
    target = Target(OURS, best.name, least=AHEAD[concurrency])
    what = f"{under_way(concurrency)}, one image each"
    return Row(what, "requests/s", ways, [target], WHY[concurrency])


def slowest(up: Sequence[Running], concurrency: int) -> Row:
    """What 99 of 100 requests stay within."""
    ways = [one.way(concurrency, lambda found: found.percentile(0.99)) for one in up]
    best = min(ways[1:], key=lambda way: statistics.median(way.values))
    what = f"{under_way(concurrency)}, what 99 of 100 stay within"
    return Row(what, "ms", ways, [Target(OURS, best.name, most=1.0)], WHY[concurrency])


def beside_the_loop(one: Running, loop: Sequence[float]) -> Row:
    """What HTTP, threads and batches cost."""
    way = one.way(CONCURRENCY[-1], lambda found: found.rate)
    ways = [way, Way(LOOP, versions("onnxruntime", "pillow"), loop)]
    what = f"{under_way(CONCURRENCY[-1])}, beside the same work in a loop without HTTP"
    return Row(what, "images/s", ways, [Target(OURS, LOOP, least=0.5)])


def spread_of_latencies(one: Running) -> Row:
    """How even answers are."""
    shares = {"half of them": 0.5, "99 of 100": 0.99}
    ways = [
        replace(one.way(CONCURRENCY[-1], partial(Measured.percentile, share=share)), name=name)
        for name, share in shares.items()
    ]
    what = f"{under_way(CONCURRENCY[-1])}, what so many of ours stay within"
    return Row(what, "ms", ways, [Target("99 of 100", "half of them", most=4.0)])


def under_way(concurrency: int) -> str:
    """How many requests at a time."""
    return "one request at a time" if concurrency == 1 else f"{concurrency} requests at a time"


class BareLoop:
    """Decode, preprocess and run, one image after the other, without HTTP; in this process."""

    def __init__(self, what: Served) -> None:
        with importable(what.bundle):
            engine = importlib.import_module("inference").Engine
            self._engine = engine(what.bundle, threads=threads())
            for image, expected in zip(what.images, what.answers, strict=True):
                check_answer(LOOP, self._answer(image), expected)
        self._images = what.images

    def _answer(self, image: bytes) -> dict[str, Any]:
        item = self._engine.decode(image)
        answer: dict[str, Any] = self._engine.answer(item, self._engine.logits([item])[0])
        return answer

    def rate(self, duration: float) -> float:
        """Images a second."""
        started, done = time.perf_counter(), 0
        while (spent := time.perf_counter() - started) < duration:
            for image in self._images:
                self._answer(image)
            done += len(self._images)
        return done / spent


@contextmanager
def importable(bundle: Path) -> Iterator[None]:
    """Let a bundle's modules be imported here, without leaving anything in it."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    sys.path.insert(0, str(bundle))
    try:
        yield
    finally:
        sys.path.remove(str(bundle))
        sys.dont_write_bytecode = before


def network(what: Served, scale: Scale) -> Iterator[Row]:
    """A session of onnxruntime as a bundle runs it, beside the same network in PyTorch."""
    import numpy as np
    import torch

    with importable(what.bundle):
        runtime = importlib.import_module("runtime")
        torch.set_num_threads(threads())
        session = runtime.open_session(what.bundle, "onnx", threads())
        eager = runtime.open_session(what.bundle, "pytorch", threads())
    [tensor] = runtime.read_metadata(what.bundle)["inputs"]
    for batch in (1, BATCH):
        values = np.random.default_rng(0).standard_normal([batch, *tensor["shape"][1:]])
        pixels = {tensor["name"]: values.astype(np.float32)}
        if (error := np.abs(session.run(pixels) - eager.run(pixels)).max()) > 1e-4:
            raise WrongAnswerError(f"onnxruntime differs from PyTorch by {error:.1e}")
        runs = 2 if scale.toy else 400 // batch
        taken = interleave(
            {
                "onnx": milliseconds(runs, partial(session.run, pixels)),
                "eager": milliseconds(runs, partial(eager.run, pixels)),
            },
            scale,
        )
        if scale.rounds:
            ways = [
                Way("onnx", versions("onnxruntime"), taken["onnx"]),
                Way("eager, inference_mode", versions("torch"), taken["eager"]),
            ]
            target = Target("eager, inference_mode", "onnx", least=1.2)
            yield Row(f"a run of {batch}, {threads()} threads", "ms", ways, [target])


def milliseconds(runs: int, run: Callable[[], object]) -> Callable[[], float]:
    """What measures how long one of so many takes."""

    def measure() -> float:
        return 1000 * seconds(lambda: [run() for _ in range(runs)]) / runs

    return measure


def command(made: Project, what: Served, scale: Scale) -> Iterator[Row]:
    """`inference.py` until it has answered and ended, beside importing onnxruntime."""
    image = made.folder / "image.png"
    image.write_bytes(what.images[0])
    # no -B: the first leaves what Python compiled, as for anybody who calls it twice
    answer = [sys.executable, str(what.bundle / "inference.py"), "--input", str(image)]
    bare = [sys.executable, "-c", "import onnxruntime"]
    done = subprocess.run(answer, check=True, capture_output=True, text=True)
    check_answer("inference.py", json.loads(done.stdout), what.answers[0])

    def run(line: list[str]) -> float:
        return seconds(lambda: subprocess.run(line, check=True, capture_output=True))

    taken = interleave({"ours": lambda: run(answer), "bare": lambda: run(bare)}, scale)
    if scale.rounds:
        version = versions("onnxruntime")
        ways = [
            Way("inference.py", f"ours, {version}", taken["ours"]),
            Way("import onnxruntime", version, taken["bare"]),
        ]
        target = Target("inference.py", "import onnxruntime", most=1.5)
        yield Row("one image, a new process", "s", ways, [target], BEGINNING)
