"""Takes other people's networks from one optimizer step to `inference.py`; writes docs/models.md.

    python tests/models.py [--shard 1/4] [--backend inductor] [--output FOLDER] [NAME ...]

Run it where the development environment is active; timm and transformers must be installed for
theirs. Each network gets processes and a rendered project of its own: one optimizer step with
`compile_mode: default`, which falls back where that fails, an export in all four formats with its
check of parity, and `inference.py` of the bundle with each artifact. torch.compile captures the
graph and stops there, since gradients and C++ take minutes a network, unless `--backend inductor`
is given. What came of it lies in FOLDER, one JSON file a network: those that are there are not run
again, and every start writes the table of all that are. The whole list takes hours; shards may run
on several machines, whose folders are put together then.
"""

from __future__ import annotations

import argparse
import atexit
import json
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import copier
import numpy as np
from PIL import Image
from warm import WarmProcess

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "docs" / "models.md"
LIBRARIES = ("torch", "onnxruntime", "torchvision", "timm", "transformers")
FORMATS = ("onnx", "torchscript", "pytorch", "pt2")
SECONDS = 3600

# puts another backend behind torch.compile
COMPILED_BY = """
import functools, torch
torch.compile = functools.partial(torch.compile, backend={backend!r})
"""

# networks whose image must have this size; all others take SIZE
SIZE = 64
SIZES = {
    "torchvision:inception_v3": 299,
    "torchvision:maxvit_t": 224,
    **dict.fromkeys([f"torchvision:vit_{n}" for n in ("b_16", "b_32", "l_16", "l_32")], 224),
    "torchvision:vit_h_14": 224,
    "transformers:SwinForImageClassification": 224,
}

# of timm, one or two of each family
TIMM = re.findall(
    r"\S+",
    """
beit_base_patch16_224 botnet26t_256 cait_xxs24_224 coat_lite_tiny convit_tiny convmixer_768_32
convnext_atto convnextv2_atto crossvit_tiny_240 cspresnet50 davit_tiny deit_tiny_patch16_224
densenet121 dla34 dpn48b edgenext_xx_small efficientformer_l1 efficientnet_b0 efficientvit_b0
eva02_tiny_patch14_224 fastvit_t8 focalnet_tiny_srf gernet_s ghostnet_050 hardcorenas_a hgnet_tiny
hrnet_w18_small inception_next_tiny lcnet_050 levit_128s maxvit_rmlp_pico_rw_256 mixer_s32_224
mnasnet_small mobilenetv3_small_050 mobileone_s0 mobilevit_xxs nest_tiny nf_regnet_b0 nfnet_f0
pit_ti_224 poolformer_s12 pvt_v2_b0 regnetx_002 repvgg_a0 res2net50_14w_8s resnest14d resnet10t
resnetv2_50 rexnet_100 selecsls42 semnasnet_050 swin_tiny_patch4_window7_224 tinynet_e
tiny_vit_5m_224 twins_pcpvt_small vgg11 visformer_tiny vit_tiny_patch16_224 volo_d1_224 xception41
xcit_nano_12_p16_224
""",
)

TRANSFORMERS = re.findall(
    r"\S+",
    """
BertForSequenceClassification RobertaForSequenceClassification DistilBertForSequenceClassification
ElectraForSequenceClassification AlbertForSequenceClassification DebertaV2ForSequenceClassification
MPNetForSequenceClassification XLMRobertaForSequenceClassification ViTForImageClassification
DeiTForImageClassification SwinForImageClassification ConvNextForImageClassification
""",
)
# transformers of transformers are built with these, as their width and depth add nothing but time
SMALL = "hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4"
# a width that does not follow the others
POOLER = {"transformers:DebertaV2ForSequenceClassification": ", pooler_hidden_size: 64"}


@dataclass(frozen=True)
class Outcome:
    """What came of one network.

    Attributes:
        name: LIBRARY:NAME.
        compiled: whether training was; it falls back where that fails.
        formats: those in the bundle.
        worst_error: the largest of parity, over formats and sizes; None without a bundle.
        seconds: CPU time of all commands, without importing what they share.
        megabytes: of the weights as safetensors or, without, of the largest artifact.
        failures: one line for each step or format that failed.
    """

    name: str
    compiled: bool
    formats: list[str]
    worst_error: float | None
    seconds: float
    megabytes: float | None
    failures: list[str]


def names() -> list[str]:
    """All networks, by library."""
    import torchvision

    found = torchvision.models.list_models(module=torchvision.models)
    return [
        *(f"torchvision:{name}" for name in sorted(found)),
        *(f"timm:{name}" for name in TIMM),
        *(f"transformers:{name}" for name in TRANSFORMERS),
    ]


def modality(name: str) -> str:
    """That of the project which trains the network."""
    return "text" if name.endswith("SequenceClassification") else "vision"


# --- One network ----------------------------------------------------------------------------------


def settings(name: str) -> dict[str, str]:
    """Options of `train` for a network."""
    options = {
        "model": name,
        "data": "few",
        "max_steps": "1",
        "batch_size": "4",
        "compile_mode": "default",
        "export_bundle": "true",
        "export_formats": f"[{','.join(FORMATS)}]",
    }
    if name.startswith("transformers:") and not re.search("Swin|ConvNext", name):
        options["model_args"] = f"{{{SMALL}{POOLER.get(name, '')}}}"
    if modality(name) == "text":
        return options | {"task": "text_classification"}
    library, _, builder = name.partition(":")
    size = SIZES.get(name) or (_size_of_timm(builder) if library == "timm" else SIZE)
    return options | {"image_size": f"[3,{size},{size}]"}


def _size_of_timm(builder: str) -> int:
    import timm

    settings = timm.models.get_pretrained_cfg(builder)
    assert settings is not None
    _, height, _ = settings.input_size
    return int(height)


def take(name: str, folder: Path, backend: str) -> Outcome:
    """Train, export and ask one network, in a project of its own."""
    rendered, process = _warm(modality(name), backend)
    project = folder / "project"
    shutil.copytree(rendered, project)
    options = [part for key, value in settings(name).items() for part in (f"--{key}", value)]
    done = process.ask(project, "-m", "train", *options)
    said, seconds = done.printed + done.errors, done.seconds
    compiled = "compiled (default)" in said
    failures = [line for line in said.splitlines() if line.startswith("error: ")]
    if done.code and not failures:
        failures = [f"ended with {done.code}: {said[-300:]}"]
    bundle = next((project / "exports").glob("model_*"), None)
    if bundle is None:
        reasons = failures or ["no bundle, and no word why"]
        return Outcome(name, compiled, [], None, seconds, None, reasons)
    metadata = json.loads((bundle / "metadata.json").read_text("utf-8"))
    for artifact in metadata["artifacts"]:
        asking = ["--format", artifact, "--input", str(bundle / metadata["example"]["input"])]
        done = process.ask(folder, str(bundle / "inference.py"), *asking)
        seconds += done.seconds
        if done.code or '"input"' not in done.printed:
            failures.append(f"inference.py --format {artifact}: {done.errors[-300:]}")
    size = max(record["bytes"] for record in metadata["files"].values()) / 1e6
    worst = max(result["max_error"] for result in metadata["parity"])
    return Outcome(name, compiled, metadata["formats"], worst, seconds, size, failures)


@cache
def _warm(kind: str, backend: str) -> tuple[Path, WarmProcess]:
    """A project to copy for each network, and a process that has imported its package."""
    folder = Path(tempfile.mkdtemp(prefix=f"models-{kind}-"))
    atexit.register(shutil.rmtree, folder)
    project = folder / "project"
    copier.run_copy(
        str(ROOT),
        project,
        data={"modality": kind, "project_name": "Models"},
        defaults=True,
        quiet=True,
        vcs_ref="HEAD",
        unsafe=True,
    )
    _write_few(project / "few", kind)
    process = WarmProcess(
        project / "src",
        "models",
        folder / "log",
        # some images set the second, and bytecode of what bundles import would never be kept
        {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": ""},
        first=COMPILED_BY.format(backend=backend),
        limit=SECONDS,
    )
    atexit.register(process.__exit__, None, None, None)
    return project, process


def _write_few(folder: Path, kind: str) -> None:
    """Six noisy images or short texts for each of two classes: what they say does not matter."""
    noise = np.random.default_rng(0)
    for number in range(12):
        stem = folder / f"class{number % 2}" / f"{number:02}"
        stem.parent.mkdir(parents=True, exist_ok=True)
        if kind == "vision":
            pixels = noise.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(stem.with_suffix(".png"))
        else:
            words = (f"word{n}" for n in noise.integers(0, 50, 5 + number))
            stem.with_suffix(".txt").write_text(" ".join(words), "utf-8")


# --- The table ------------------------------------------------------------------------------------


def table(outcomes: Sequence[Outcome]) -> str:
    """docs/models.md: how many went through, a row for each network, and what failed."""
    versions = ", ".join(f"{library} {version(library)}" for library in LIBRARIES)
    lines = [
        "# Networks that were taken through",
        "",
        "One optimizer step, all formats, parity with the trained network, and `inference.py` of",
        "the bundle with every artifact, on one thread and from random weights; compiled where",
        "torch.compile can capture the graph. `python tests/models.py` writes this, here with",
        f"{versions}.",
        "",
        "| format | of all networks |",
        "|---|---|",
        *(
            f"| {name} | {sum(name in o.formats for o in outcomes)} of {len(outcomes)} |"
            for name in FORMATS
        ),
        "",
        "| network | compiled | formats | worst error | CPU seconds | MB |",
        "|---|---|---|---|---|---|",
        *map(_row, outcomes),
    ]
    failed = [f"- `{o.name}`: {line}" for o in outcomes for line in o.failures]
    if failed:
        lines += ["", "## What failed", "", *failed]
    return "\n".join(lines) + "\n"


def _row(outcome: Outcome) -> str:
    formats = "all" if set(outcome.formats) == set(FORMATS) else ", ".join(outcome.formats)
    error = "" if outcome.worst_error is None else f"{outcome.worst_error:.0e}"
    size = "" if outcome.megabytes is None else f"{outcome.megabytes:.1f}"
    cells = (f"`{outcome.name}`", "yes" if outcome.compiled else "no", formats or "none", error)
    return f"| {' | '.join(cells)} | {outcome.seconds:.0f} | {size} |"


def known(folder: Path) -> Iterator[Outcome]:
    """Outcomes of this start and all before."""
    for path in sorted(folder.glob("*.json")):
        yield Outcome(**json.loads(path.read_text("utf-8")))


# --- The command ----------------------------------------------------------------------------------


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"{text}: give 1/4 for the first of four parts")
    return int(match[1]), int(match[2])


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each network as it ends; write the table. 1 where anything failed."""
    parser = argparse.ArgumentParser(description="Do other people's networks go through?")
    parser.add_argument("names", nargs="*", metavar="NAME", help="LIBRARY:NAME (all)")
    parser.add_argument("--shard", type=_shard, default=(1, 1), help="part of the list, as 1/4")
    parser.add_argument("--backend", default="eager", help="of torch.compile")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "models", metavar="FOLDER")
    parser.add_argument("--table", type=Path, default=TABLE, help="the table to write")
    options = parser.parse_args(arguments)
    everything = names()
    if unknown := sorted(set(options.names) - set(everything)):
        parser.error(f"no such network: {', '.join(unknown)}")
    number, parts = options.shard
    chosen = (options.names or everything)[number - 1 :: parts]
    options.output.mkdir(parents=True, exist_ok=True)
    for name in chosen:
        path = options.output / f"{name.replace(':', '-')}.json"
        if path.exists():
            continue
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="models-") as folder:
            outcome = take(name, Path(folder), options.backend)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(outcome), indent=2) + "\n", "utf-8")
        partial.rename(path)
        print(_row(outcome), f"{time.monotonic() - started:.0f} s", flush=True)
        for line in outcome.failures:
            print(f"  {line}", flush=True)
    outcomes = list(known(options.output))
    options.table.write_text(table(outcomes), "utf-8")
    return int(any(outcome.failures for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
