"""What a run takes as its data grow: made-up rows, no pixels."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from .harness import Project, Row, Scale, Target, Way, benchmark, interleave, project

FEW, MANY = 1_000, 1_000_000

# A run of its own process: its network is one layer and writes down when it is called.
RUN = """
import json, statistics, sys, time, warnings
from pathlib import Path
import datasets, torch
from torch import nn
from text_project.config import TrainingConfig
from text_project.data.module import UniversalDataModule
from text_project.data.reading import learn_tokenizer
from text_project.data.splits import Splits
from text_project.task import TaskSpec
from text_project.training.loop import fine_tune

warnings.simplefilter("ignore")
count, steps, every = map(int, sys.argv[1:])

def anonymous():
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    found = next(line for line in lines if line.startswith("RssAnon"))
    return 1024 * int(found.split()[1])

class Timed(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(300, 8)
        self.head = nn.Linear(8, 2)
        self.times, self.memory = [], 0

    def forward(self, input_ids, attention_mask):
        if self.training:
            self.times.append(time.perf_counter())
            self.memory = max(self.memory, anonymous())
        return self.head(self.embedding(input_ids).mean(1))

splits = Splits(
    datasets.Dataset.from_file(f"{count}.arrow"), datasets.Dataset.from_file("64.arrow"),
    ["a", "b"],
    learn_tokenizer(["some words to learn from"], 300),
)
config = TrainingConfig.from_dict({
    "task": "text_classification", "batch_size": 4, "max_steps": steps, "max_seq_len": 8,
    "checkpoint_every_n_steps": every, "epochs": 10**6, "output_dir": f"runs-{count}",
})
task = TaskSpec.from_config(config, splits)
data = UniversalDataModule(task, config.batch_size, config=config, splits=splits)
network = Timed()
before = anonymous()
started = time.perf_counter()
batches = iter(data.train_dataloader())
next(batches)
network.memory = anonymous()
start = time.perf_counter() - started
del batches
fine_tune(network, config, splits=splits)
times = network.times[-steps:]
took = [later - earlier for earlier, later in zip(times, times[1:])]
saved = [value for number, value in enumerate(took, 1) if number % every == 0]
plain = [value for number, value in enumerate(took, 1) if number % every and number > every]
print(json.dumps({
    "start": start,
    "step": 1000 * statistics.median(plain),
    "checkpoint": 1000 * (statistics.median(saved) - statistics.median(plain)),
    "memory": network.memory - before,
}))
"""


@benchmark("As data grow", minutes=6)
def scaling(scale: Scale) -> Iterator[Row]:
    """A step, a checkpoint, an epoch's start and memory, with 1,000 and 1,000,000 rows."""
    with project("text") as text:
        many = 5_000 if scale.toy else MANY
        measured: dict[int, list[dict[str, float]]] = {FEW: [], many: []}
        for count in (64, FEW, many):
            _write_rows(count)

        def run(count: int) -> Callable[[], float]:
            def measure() -> float:
                measured[count].append(_run(text, count, scale))
                return 0

            return measure

        if not scale.rounds:
            _run(text, FEW, scale)
        interleave({str(count): run(count) for count in measured}, scale)
    # the first round does not count
    kept = {count: found[1:] for count, found in measured.items()}
    names = {count: f"{count:,} rows" for count in measured}
    for what, unit, figure in (
        ("a step, as data grow", "ms", "step"),
        ("a checkpoint, as data grow", "ms", "checkpoint"),
    ):
        ways = [
            Way(names[count], "ours", [each[figure] for each in kept[count]])
            for count in (many, FEW)
        ]
        yield Row(what, unit, ways, [Target(names[many], names[FEW], most=1.1)])
    share = many / 100_000
    starts = [each["start"] / share for each in kept[many]]
    yield Row(
        "an epoch's start for each 100,000 rows",
        "s",
        [Way(names[many], "ours", starts)],
        [Target(names[many], most=1)],
    )
    more = [
        (last["memory"] - first["memory"]) / (many - FEW)
        for last, first in zip(kept[many], kept[FEW], strict=True)
    ]
    yield Row(
        "memory of the training process for each row",
        "bytes",
        [Way(names[many], "ours", more)],
        [Target(names[many], most=100)],
        note="How much more anonymous memory (`RssAnon`) is held at most in any step than before "
        f"the loader was made, with {names[many]} instead of {names[FEW]}. Rows themselves are "
        "mapped from files, whose pages the system takes back when it needs them.",
    )


def _write_rows(count: int) -> None:
    """Eight tokens and a class in each."""
    import pyarrow as pa

    values = np.random.default_rng(0).integers(5, 200, count * 8, dtype=np.int32)
    lists = pa.ListArray.from_arrays(np.arange(0, count * 8 + 1, 8, dtype=np.int32), values)
    table = pa.table({"input_ids": lists, "labels": np.arange(count, dtype=np.int64) % 2})
    with pa.ipc.new_stream(f"{count}.arrow", table.schema) as file:
        file.write_table(table, max_chunksize=1000)


def _run(text: Project, count: int, scale: Scale) -> dict[str, float]:
    steps, every = (12, 4) if scale.toy else (400, 20)
    script = Path("scaling_run.py")
    script.write_text(RUN, "utf-8")
    command = [sys.executable, str(script), str(count), str(steps), str(every)]
    run = subprocess.run(command, env=text.environment, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return found
