"""The files of a bundle that are not artifacts: scripts, documents, what containers need."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
import string
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from ..config import TrainingConfig
from ..errors import ExportError
from ..serving.runtime import METADATA
from ..serving.runtime.sessions import GPU_REQUIREMENTS
from ..task import TaskSpec
from . import dummy_inputs
from .formats import EXPORTERS
from .imports import distributions_of_file
from .metadata import BundleMetadata, artifact_bytes, figure, write_json
from .parity import TOLERANCE

PACKAGE = Path(__file__).resolve().parent.parent
SERVING = PACKAGE / "serving"

SCRIPTS = ("inference.py", "server.py", "healthcheck.py")
TORCHSERVE_FILES = ("config.properties", "model-config.yaml", "handler.py")
DOCKER_FILES = ("Dockerfile", ".dockerignore", "compose.yaml", "kubernetes.yaml")

FOLDERS = ("runtime", "page")
# stands in them for the name of the image, and of what runs it
IMAGE = "bundle-name"
# the longest name that Kubernetes gives a service
MAX_IMAGE = 63

# what runtime/http imports, with the oldest version it was run with
SERVER_REQUIREMENTS = {
    "fastapi": "0.115",
    "fastapi-offline": "1.7.7",
    "httptools": "0.6.3",
    "prometheus-client": "0.21",
    "python-multipart": "0.0.20",
    "starlette": "0.41",
    "uvicorn": "0.34",
    "uvloop": "0.21",
}
MARKERS = {"uvloop": ' ; sys_platform != "win32"'}
ONNXRUNTIME = "onnxruntime"
# it brings along CUDA and cuDNN, since 1.21
GPU_ONNXRUNTIME = "onnxruntime-gpu[cuda,cudnn]"
FORMAT_REQUIREMENTS = {
    "onnx": (ONNXRUNTIME,),
    "torchscript": ("torch",),
    "pytorch": ("torch", "safetensors"),
    "pt2": ("torch",),
}

# what a request may say about a text that goes on
GENERATION = """
- **Continuing:** `{"parameters": {"max_new_tokens": 20, "temperature": 0.8, "top_k": 40, "seed": 1,
  "stop": ["\\n"]}, "instances": [{"text": "..."}]}`, or `?max_new_tokens=20` behind the path for
  a body that is a text. The command line gives the same for the same seed. `--max_answer_size`
  bounds `max_new_tokens`. With `"stream": true` the answer comes as server-sent events, `piece` by
  `piece`; `answer` is the last."""


def generate_inference_script(
    task_spec: TaskSpec, export_dir: Path, model_format: str | None = None
) -> Path:
    """Copy `inference.py` and what stands with it: `runtime/`, `page/`, the preprocessing.

    Args:
        task_spec: must be of this project's modality.
        export_dir: the bundle.
        model_format: checked only; what runs by default is the first artifact in metadata.json.

    Returns:
        path of `inference.py`.

    Raises:
        ExportError: a modality or format that this project does not have.
    """
    own = TaskSpec.preset(task_spec.task_type).modality
    if task_spec.modality != own:
        raise ExportError(f"{task_spec.modality} cannot be served by this project; it reads {own}")
    if model_format is not None and model_format not in EXPORTERS:
        raise ExportError(f"{model_format} is no export format; there are {', '.join(EXPORTERS)}")
    for name in SCRIPTS:
        shutil.copyfile(SERVING / name, export_dir / name)
    for name in FOLDERS:
        shutil.copytree(
            SERVING / name,
            export_dir / name,
            ignore=shutil.ignore_patterns("__pycache__"),
            copy_function=shutil.copyfile,
            dirs_exist_ok=True,
        )
    shutil.copyfile(PACKAGE / "preprocessing.py", export_dir / "preprocessing.py")
    return export_dir / "inference.py"


def generate_readme(task_spec: TaskSpec, export_dir: Path, formats: Sequence[str]) -> Path:
    """Write the bundle's README for this model; reads what metadata.json records so far.

    Args:
        task_spec: all there is to say where nothing is recorded yet.
        export_dir: the bundle.
        formats: formats of the bundle; those without an artifact are listed as missing.

    Returns:
        its path.
    """
    metadata = _recorded(task_spec, export_dir)
    specs = [("input", spec) for spec in metadata.inputs]
    specs += [
        (f"input of `{artifact}`", spec)
        for artifact, own in metadata.artifact_inputs.items()
        for spec in own
    ]
    specs += [("output", spec) for spec in metadata.outputs]
    rows = [
        f"| {kind} | `{spec['name']}` | {spec['dtype']} | {_shape(spec['shape'])} |"
        for kind, spec in specs
    ]
    reductions = [
        f"\n`{name}` computes in {found['precision']} ({found['method']}): {found['monitored']} "
        f"{figure(found['before'][found['monitored']])} before, "
        f"{figure(found['after'][found['monitored']])} after; this decides, not the error above.\n"
        for name, found in metadata.reductions.items()
    ]
    meanings = [
        f"\n`{artifact}` preprocesses its input itself. `{spec['name']}`: {spec['meaning']}\n"
        for artifact, own in metadata.artifact_inputs.items()
        for spec in own
    ]
    worst: dict[str, float] = {}
    for result in metadata.parity:
        worst[result["format"]] = max(worst.get(result["format"], 0.0), result["max_error"])
    artifacts = [
        f"| `{name}` | `{file}` | {artifact_bytes(export_dir / file) / 1e6:.2f} MB | "
        f"{f'{worst[name]:.1e}' if name in worst else 'not compared'} |"
        for name, file in metadata.artifacts.items()
    ]
    missing = [name for name in formats if name not in metadata.artifacts]
    artifacts += [f"| `{name}` | not exported | | |" for name in missing]
    trivial = {name: figure(value) for name, value in metadata.trivial_metrics.items()}
    metrics = [
        f"| {name} | {figure(value)} | {trivial.get(name, '')} |"
        for name, value in metadata.metrics.items()
    ]
    template = string.Template((SERVING / "README.template.md").read_text(encoding="utf-8"))
    path = export_dir / "README.md"
    path.write_text(
        template.substitute(
            name=metadata.title,
            image=image_name(metadata),
            task=task_spec.task_type,
            created=metadata.created,
            example=metadata.example["input"] if metadata.example else "FILE",
            outputs=", ".join(task_spec.class_names) or f"{task_spec.num_outputs} without names",
            signature="\n".join(rows),
            meanings="".join(meanings),
            cache=_cache(task_spec, metadata),
            generation=GENERATION if task_spec.continues else "",
            reductions="".join(reductions),
            device=_device(metadata),
            artifacts="\n".join(artifacts),
            tolerance=f"{TOLERANCE:.0e}",
            metrics="\n".join(metrics) or "| not recorded | | |",
            preprocessing=json.dumps(task_spec.preprocessing_config, indent=2, ensure_ascii=False),
        ),
        encoding="utf-8",
    )
    return path


def _device(metadata: BundleMetadata) -> str:
    """What is installed for a GPU, and what reads the ONNX file."""
    if "onnx" not in metadata.formats:
        return "`requirements.txt` is for GPUs too: the torch that it installs on Linux has CUDA."
    reader = metadata.oldest_onnxruntime
    known = f"\nThe ONNX file is read by onnxruntime {reader} and newer." if reader else ""
    return (
        f"For NVIDIA GPUs install `{GPU_REQUIREMENTS}` instead of `requirements.txt`, in a fresh\n"
        f"environment: onnxruntime and onnxruntime-gpu do not go together.{known}"
    )


def _cache(task_spec: TaskSpec, metadata: BundleMetadata) -> str:
    """What continuing a text costs, artifact by artifact; nothing where no text is continued."""
    if not task_spec.continues:
        return ""
    kept = metadata.cache["artifacts"] if metadata.cache else {}
    sentences = []
    if kept:
        names = ", ".join(f"`{name}`" for name in kept)
        sentences.append(
            f"{names}: what was computed of a text is kept while it is continued (a key-value "
            "cache), until it is longer than the network takes."
        )
    if others := [f"`{name}`" for name in metadata.artifacts if name not in kept]:
        sentences.append(f"{', '.join(others)}: a text is computed anew for each token.")
    if kept.get("onnx"):
        sentences.append(
            f"`{kept['onnx']}` is the graph with the cache, whose weights are those in "
            f"`{metadata.artifacts['onnx']}`; keep both in one folder."
        )
    return "\n" + "\n".join(sentences) + "\n"


def _recorded(task_spec: TaskSpec, export_dir: Path) -> BundleMetadata:
    """What metadata.json holds, or what the task alone says where there is none."""
    if (export_dir / METADATA).is_file():
        return BundleMetadata.read(export_dir)
    return BundleMetadata.of_task(
        task_spec, dummy_inputs.input_signature(task_spec, TrainingConfig())
    )


def generate_torchserve_config(task_spec: TaskSpec, export_dir: Path) -> Path:
    """Write what TorchServe reads, and `torchserve_config.json` as its `models` setting has it.

    Returns:
        path of `torchserve_config.json`.
    """
    folder = export_dir / "torchserve"
    folder.mkdir(exist_ok=True)
    for name in TORCHSERVE_FILES:
        shutil.copyfile(SERVING / name, folder / name)
    settings = yaml.safe_load((SERVING / "model-config.yaml").read_text(encoding="utf-8"))
    names = ("minWorkers", "maxWorkers", "batchSize", "maxBatchDelay", "responseTimeout")
    version = {"defaultVersion": True, "marName": "model.mar"} | {n: settings[n] for n in names}
    path = export_dir / "configs" / "torchserve_config.json"
    write_json(path, {"model": {"1.0": version}})
    return path


def generate_dockerfile(task_spec: TaskSpec, export_dir: Path) -> Path:
    """Copy the Dockerfile and what belongs to it, for this project and the Python that runs now.

    Returns:
        path of the Dockerfile.
    """
    image = image_name(_recorded(task_spec, export_dir))
    for name in DOCKER_FILES:
        text = (SERVING / name).read_text(encoding="utf-8")
        (export_dir / name).write_text(text.replace(IMAGE, image), encoding="utf-8")
    path = export_dir / "Dockerfile"
    # requirements.txt pins what this Python runs, so the image must have the same one
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(r"(?m)^ARG PYTHON=.*$", f"ARG PYTHON={python}", text), encoding="utf-8")
    return path


def image_name(metadata: BundleMetadata) -> str:
    """The project's name as Docker takes it for an image, and Kubernetes for a service."""
    slug = metadata.project["slug"] if metadata.project else ""
    plain = re.sub(r"[^a-z0-9]+", "-", slug.lower())
    return re.sub(r"^[^a-z]+", "", plain)[:MAX_IMAGE].strip("-") or "model"


def runtime_requirements(formats: Sequence[str], model_imports: Sequence[str] = ()) -> list[str]:
    """Lines of requirements.txt: what the bundle's files import, at the versions installed here.

    Args:
        formats: formats of the bundle.
        model_imports: distributions that the network's source needs besides torch.
    """
    preprocessing = distributions_of_file(PACKAGE / "preprocessing.py")
    names = {"numpy", *preprocessing, *SERVER_REQUIREMENTS, *model_imports}
    for name in formats:
        names.update(FORMAT_REQUIREMENTS[name])
    return [_pin(name) + MARKERS.get(name, "") for name in sorted(names)]


def gpu_requirements(lines: Sequence[str], oldest_onnxruntime: str) -> list[str]:
    """Lines of requirements-gpu.txt, for NVIDIA GPUs: those of requirements.txt, one replaced.

    Args:
        lines: of requirements.txt.
        oldest_onnxruntime: that reads the bundle's ONNX file. The build for GPUs is released later
            than the other, so what is installed is the newest up to that which was compared.
    """
    pinned = f"{ONNXRUNTIME}=="
    bounds = f"{GPU_ONNXRUNTIME}>={oldest_onnxruntime},<="
    return [line.replace(pinned, bounds) if line.startswith(pinned) else line for line in lines]


def _pin(distribution: str) -> str:
    try:
        version = importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        if distribution in SERVER_REQUIREMENTS:  # training does not need them installed
            return f"{distribution}>={SERVER_REQUIREMENTS[distribution]}"
        raise ExportError(f"{distribution} is not installed; uv add {distribution}") from None
    # a local label such as +cpu names a build that package indexes do not offer
    return f"{distribution}=={version.partition('+')[0]}"


def _shape(sizes: Sequence[int | str]) -> str:
    return " x ".join(str(size) for size in sizes)
