"""Predict images with this bundle: `python inference.py --input FILE [FILE ...]`.

In Python:

    from inference import VisionInferenceEngine
    engine = VisionInferenceEngine("path/of/the/bundle")
    engine.predict("picture.jpg")
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from runtime import (
    Array,
    InferenceEngine,
    InvalidInput,
    Item,
)
from runtime.commandline import run
from runtime.instances import file_in

BUNDLE = Path(__file__).resolve().parent
PIXELS = "pixels"


class VisionInferenceEngine(InferenceEngine):
    """Images in, predictions out; the size of an image is that in which it arrives."""

    media_types = ("image/*", "application/octet-stream")
    suffixes = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
    columns = ("image", "images", "img", "file_name", "filename", "file", "image_path", "path")
    note_names = ("truncated", "frames_used", "frames_given")
    item_unit = "pixels"
    default_max_item_size = 50_000_000

    def decode(self, payload: bytes) -> Item:
        """One image file as `pixel_values`, float32 [C, H, W].

        Of several frames or pages the first is taken, as in training, and the notes say so. For an
        artifact that resizes and normalises itself, `pixels` uint8 [H, W, C] of the same
        size: it would make the same of the whole image, which takes more room while it waits.

        Raises:
            InvalidInput: it is damaged, too large, or no image.
        """
        # imported late: --verify compares this file with its hash before it runs
        import preprocessing

        config = self.metadata["preprocessing"]
        with _refusing_images():
            pixels = preprocessing.read_pixels(
                payload, self.metadata["input_schema"]["image_size"], config, self.max_item_size
            )
            frames = preprocessing.count_frames(payload)
        if self.takes_pixels:
            item = Item({PIXELS: np.ascontiguousarray(pixels.transpose(1, 2, 0))})
        else:
            item = Item(pixel_values=preprocessing.normalize(pixels, config))
        if frames > 1:
            item.notes = {"truncated": True, "frames_used": 1, "frames_given": frames}
        return item

    def decode_example(self, payload: bytes) -> Item:
        """The whole image as `pixels`, uint8 [height, width, C], where the artifact takes that."""
        if not self.takes_pixels:
            return self.decode(payload)
        import preprocessing

        channels = self.metadata["input_schema"]["image_size"][0]
        value_range = self.metadata["preprocessing"].get("value_range")
        with _refusing_images():
            image = preprocessing.open_image(payload, channels, value_range, self.max_item_size)
        return Item({PIXELS: preprocessing.to_channels_first(image).transpose(1, 2, 0)})

    @property
    def takes_pixels(self) -> bool:
        """Whether the artifact preprocesses decoded images itself."""
        return bool(self.metadata["inputs"][0]["name"] == PIXELS)

    def check(self, item: Item) -> None:
        """As any engine's; an image that clients decoded must not be too large either.

        Raises:
            InvalidInput: NaN or infinity, or too many pixels.
        """
        super().check(item)
        if self.takes_pixels:
            height, width, _ = item[PIXELS].shape
            if height * width > self.max_item_size:
                raise InvalidInput(
                    f"{width}x{height} pixels; the limit is {self.max_item_size:,}; "
                    "--max_item_size allows more"
                )

    def logits(self, items: Sequence[Item]) -> list[Array]:
        """Logits of each image; those of one size are computed as one batch."""
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for number, item in enumerate(items):
            [image] = item.values()
            by_shape.setdefault(image.shape, []).append(number)
        found: dict[int, Array] = {}
        for numbers in by_shape.values():
            found.update(zip(numbers, super().logits([items[n] for n in numbers]), strict=True))
        return [found[number] for number in range(len(items))]

    def from_json(self, instance: object) -> bytes:
        """The image in `{"b64": "<the file in base64>"}`, as `file_in` reads it.

        Raises:
            InvalidInput: another form, or not base64.
        """
        return file_in(instance, "image")


@contextmanager
def _refusing_images() -> Iterator[None]:
    """What preprocessing.py raises, as what clients are told."""
    import preprocessing

    try:
        yield
    except preprocessing.ImageTooLarge as error:
        raise InvalidInput(f"{error}; --max_item_size allows more") from error
    except preprocessing.InvalidImage as error:
        raise InvalidInput(str(error)) from error


Engine = VisionInferenceEngine


def main(arguments: list[str] | None = None) -> int:
    """The command line; see `--help`."""
    return run(VisionInferenceEngine, BUNDLE, arguments)


if __name__ == "__main__":
    sys.exit(main())
