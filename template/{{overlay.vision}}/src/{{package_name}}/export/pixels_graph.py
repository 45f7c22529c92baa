"""preprocessing.py once more, as ONNX operators: from decoded pixels of any size to the network.

Pillow resizes in fixed point: the weights of a pixel are made in float64 and rounded to 22 bits,
one axis comes first and is rounded to 8 bits, the other follows. Here the same weights are
multiplied with the same pixels in integers, so that not one pixel differs. The integers are three
digits of 8 bits each: MatMulInteger takes those, and the image is never held in anything wider than
a byte.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
import PIL
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from .. import preprocessing
from ..task import TaskSpec
from .signature import InputSignature, TensorSpec

PIXELS, PIXEL_VALUES = "pixels", "pixel_values"
# what Pillow rounds weights to
WEIGHT_BITS = 22
# Pixels of the result whose weights make one matrix. A wider tile reads fewer pixels twice, and
# multiplies more zeros.
TILE = 16
# digits are signed, -128 to 127, and held as uint8
DIGIT_ZERO = 128
# the oldest operators that take all that is given to them here
OPSET = 18

Value: TypeAlias = str
"""Name of a tensor in the graph."""


class PixelsGraph:
    """From images of any size, decoded, to normalised ones; an `InputGraph`.

    Args:
        task_spec: says how images are resized and normalised.
    """

    opset = OPSET

    def __init__(self, task_spec: TaskSpec) -> None:
        self.image_size: list[int] = task_spec.input_schema["image_size"]
        self.config = task_spec.preprocessing_config
        channels = self.image_size[0]
        shape = ("batch", "image_height", "image_width", channels)
        self.signature = InputSignature((TensorSpec(PIXELS, "uint8", shape),), limits={})
        depth = self.config.get("value_range")
        self.meaning = (
            f"decoded images of one size, whatever that is, row by row: {_CHANNELS[channels]}, "
            "0 to 255; upright, as EXIF says"
            + ("" if channels == 4 else "; what is transparent lies over white")
            + (f"; of more than 8 bits, {depth} scaled to 0 and 255" if depth else "")
        )

    def sizes(self) -> list[dict[str, int]]:
        """Larger and smaller than the network's, flat and narrow ones, and its own."""
        _, height, width = self.image_size
        shapes = [
            (3 * height + 1, 2 * width + 3),
            (2 * height, 5 * width + 1),
            (height // 2 + 1, width // 3 + 1),
            (1, width),
            (2 * height + 5, 1),
            (height, width),
        ]
        return [_sizes(1 + 2 * (n == 0), *shape) for n, shape in enumerate(shapes)]

    def own_size(self, batch: int) -> dict[str, int]:
        """That of the network's input."""
        return _sizes(batch, *self.image_size[1:])

    def random_samples(
        self, sizes: Mapping[str, int], generator: torch.Generator
    ) -> dict[str, npt.NDArray[Any]]:
        """Noise: `pixels` uint8 [B, image_height, image_width, C]."""
        shape = [sizes[axis] for axis in ("batch", "image_height", "image_width")]
        shape.append(self.image_size[0])
        noise = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        return {PIXELS: noise.numpy()}

    def read_example(self, path: Path) -> dict[str, npt.NDArray[Any]]:
        """The whole image: `pixels` uint8 [1, height, width, C]."""
        image = preprocessing.open_image(path, self.image_size[0], self.config.get("value_range"))
        return {PIXELS: preprocessing.to_channels_first(image).transpose(1, 2, 0)[np.newaxis]}

    def preprocess(
        self, samples: Mapping[str, npt.NDArray[Any]]
    ) -> dict[str, npt.NDArray[np.float32]]:
        """`pixel_values` float32 [B, C, H, W], by preprocessing.py."""
        _, height, width = self.image_size
        fitted = [
            preprocessing.fit_pixels(
                Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image),
                (height, width),
                self.config,
            )
            for image in samples[PIXELS]
        ]
        return {PIXEL_VALUES: preprocessing.normalize(np.stack(fitted), self.config)}

    def graph(self) -> onnx.GraphProto:
        """The same as operators."""
        return graph(self.image_size, self.config, PIXELS, PIXEL_VALUES)


_CHANNELS = {1: "grey", 3: "red, green, blue", 4: "red, green, blue, opacity"}


def _sizes(batch: int, height: int, width: int) -> dict[str, int]:
    return {"batch": batch, "image_height": height, "image_width": width}


class _Nodes:
    """Nodes in the making. Numbers become float64 constants, arrays constants of their own type."""

    def __init__(self, prefix: str = "preprocessing") -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def __call__(
        self, operator: str, *inputs: Value | float | npt.NDArray[Any], **attributes: Any
    ) -> Value:
        """Add a node; gives its output."""
        return self.several(operator, 1, *inputs, **attributes)[0]

    def several(
        self,
        operator: str,
        outputs: int,
        *inputs: Value | float | npt.NDArray[Any],
        **attributes: Any,
    ) -> list[Value]:
        """Add a node of several outputs."""
        name = f"{self.prefix}_{len(self.nodes)}_{operator}"
        names = [name] if outputs == 1 else [f"{name}_{number}" for number in range(outputs)]
        values = [each if isinstance(each, str) else self._constant(each) for each in inputs]
        self.nodes.append(helper.make_node(operator, values, names, name, **attributes))
        return names

    def _constant(self, value: float | npt.NDArray[Any]) -> Value:
        array = value if isinstance(value, np.ndarray) else np.array(value, np.float64)
        name = f"{self.prefix}_constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def either(
        self,
        condition: Value,
        then: Callable[[_Nodes], Value],
        otherwise: Callable[[_Nodes], Value],
        dtype: int,
    ) -> Value:
        """Only one of two is computed, as the condition says."""
        branches = {}
        for name, build in (("then_branch", then), ("else_branch", otherwise)):
            inner = _Nodes(f"{self.prefix}_{len(self.nodes)}_{name}")
            output = helper.make_tensor_value_info(build(inner), dtype, None)
            branches[name] = helper.make_graph(inner.nodes, name, [], [output], inner.constants)
        return self("If", condition, **branches)


@dataclass(frozen=True)
class _Filter:
    """A resampling filter.

    Attributes:
        support: how far it reaches, in pixels of the coarser side.
        weight: of pixels at the distances given, which may be negative.
    """

    support: float
    weight: Callable[[_Nodes, Value], Value]


@dataclass(frozen=True)
class _Axis:
    """How one axis is brought to its size; numbers are float64 scalars.

    Attributes:
        size: pixels of the result.
        count: pixels of the image.
        start, span: the part of the image that is shown, float32 numbers.
        shown: pixels of the result that show it.
        offset: black pixels before them.
    """

    size: int
    count: Value
    start: Value | float
    span: Value
    shown: Value | float
    offset: Value | float = 0.0


def graph(
    image_size: Sequence[int], config: Mapping[str, Any], source: str, target: str
) -> onnx.GraphProto:
    """What `preprocessing.fit_pixels` and `preprocessing.normalize` do, as a graph.

    Args:
        image_size: [C, H, W] of the network's input.
        config: as `preprocessing.read_pixels` takes it.
        source: name of the input: uint8 [B, height, width, C], what `preprocessing.open_image`
            gives.
        target: name of the output: float32 [B, C, H, W].
    """
    channels = image_size[0]
    g = _Nodes()
    pixels = _fitted(g, source, image_size, config)
    scale, bias = preprocessing.scale_and_bias(channels, config)
    floats = g("Cast", g("Transpose", pixels, perm=[0, 3, 1, 2]), to=TensorProto.FLOAT)
    normalized = g("Add", g("Mul", floats, scale), bias)
    g.nodes.append(helper.make_node("Identity", [normalized], [target], "preprocessing_end"))
    return helper.make_graph(
        g.nodes,
        "preprocessing",
        [
            helper.make_tensor_value_info(
                source, TensorProto.UINT8, ["batch", "image_height", "image_width", channels]
            )
        ],
        [helper.make_tensor_value_info(target, TensorProto.FLOAT, ["batch", *image_size])],
        g.constants,
    )


def _fitted(g: _Nodes, image: Value, image_size: Sequence[int], config: Mapping[str, Any]) -> Value:
    """uint8 [B, H, W, C] of uint8 [B, height, width, C]."""
    channels, *size = image_size
    sizes = g("Cast", g("Shape", image, start=1, end=3), to=TensorProto.DOUBLE)
    counts = [g("Gather", sizes, np.array(axis)) for axis in (0, 1)]
    rows, columns = _AXES[config.get("resize", "crop")](g, counts, size)
    interpolation = config.get("interpolation", "bilinear")
    if interpolation == "nearest":
        return _nearest(g, _nearest(g, image, rows, 1), columns, 2)
    kernel = _FILTERS[interpolation]
    if channels != 4:
        return _resampled(g, image, rows, columns, channels, kernel)
    # Pillow leaves an image alone that has the size already, transparent pixels included
    untouched = _both(g, [g("Equal", axis.count, axis.shown) for axis in (rows, columns)])
    colour = _premultiplied(g, image, untouched)
    return _divided(g, _resampled(g, colour, rows, columns, channels, kernel), untouched)


# --- Which part of the image is shown where ------------------------------------------------------


def _stretch(g: _Nodes, counts: Sequence[Value], sizes: Sequence[int]) -> list[_Axis]:
    """All of it, everywhere."""
    return [
        _Axis(size, count, 0.0, count, float(size))
        for count, size in zip(counts, sizes, strict=True)
    ]


def _crop(g: _Nodes, counts: Sequence[Value], sizes: Sequence[int]) -> list[_Axis]:
    """The largest part of the right proportions, as ImageOps.fit reckons it."""
    (rows, columns), (height, width) = counts, sizes
    wanted = width / height
    ratio = g("Div", columns, rows)
    too_wide, too_high = g("Greater", ratio, wanted), g("Less", ratio, wanted)
    spans = (
        g("Where", too_high, g("Div", columns, wanted), rows),
        g("Where", too_wide, g("Mul", rows, wanted), columns),
    )
    axes = []
    for axis, span in zip(_stretch(g, counts, sizes), spans, strict=True):
        first = g("Mul", g("Sub", axis.count, span), 0.5)
        # Pillow takes a box as float32, and its size as their difference
        start = g("Cast", first, to=TensorProto.FLOAT)
        end = g("Cast", g("Add", first, span), to=TensorProto.FLOAT)
        part = g("Cast", g("Sub", end, start), to=TensorProto.DOUBLE)
        axes.append(replace(axis, start=g("Cast", start, to=TensorProto.DOUBLE), span=part))
    return axes


def _pad(g: _Nodes, counts: Sequence[Value], sizes: Sequence[int]) -> list[_Axis]:
    """All of it, as large as fits, black around it, as ImageOps.pad reckons it.

    What is long and thin is a line, one pixel wide.
    """
    (rows, columns), (height, width) = counts, sizes
    wanted = width / height
    ratio = g("Div", columns, rows)
    too_wide, too_high = g("Greater", ratio, wanted), g("Less", ratio, wanted)
    less_high = g("Round", g("Mul", g("Div", rows, columns), float(width)))
    less_wide = g("Round", g("Mul", ratio, float(height)))
    shown = (
        g("Max", g("Where", too_wide, less_high, float(height)), 1.0),
        g("Max", g("Where", too_high, less_wide, float(width)), 1.0),
    )
    return [
        replace(
            axis, shown=part, offset=g("Round", g("Mul", g("Sub", float(axis.size), part), 0.5))
        )
        for axis, part in zip(_stretch(g, counts, sizes), shown, strict=True)
    ]


_AXES = {"stretch": _stretch, "crop": _crop, "pad": _pad}


def _places(g: _Nodes, axis: _Axis, count: int) -> tuple[Value, Value]:
    """For `count` pixels of the result their number among those shown, and whether they are.

    Those that are not have the number of the nearest one that is.
    """
    number = g("Sub", np.arange(count, dtype=np.float64), axis.offset)
    shown = _both(g, [g("GreaterOrEqual", number, 0.0), g("Less", number, axis.shown)])
    # all of an image of 1 x 1000 pixels may come to nothing
    last = g("Max", g("Sub", axis.shown, 1.0), 0.0)
    return g("Min", g("Max", number, 0.0), last), shown


def _both(g: _Nodes, conditions: Sequence[Value]) -> Value:
    first, second = conditions
    return g("And", first, second)


def _scale(g: _Nodes, axis: _Axis) -> Value:
    return g("Div", axis.span, g("Max", axis.shown, 1.0))


# --- The pixel that is nearest -------------------------------------------------------------------


def _nearest(g: _Nodes, image: Value, axis: _Axis, position: int) -> Value:
    """One axis of an image, by choosing pixels."""
    scale = _scale(g, axis)
    # Pillow adds one step after the other, and so do the sums here
    first = g("Add", g("Mul", scale, 0.5), axis.start)
    steps = g("Expand", g("Unsqueeze", scale, _AT_0), np.array([axis.size]))
    steps = g("Concat", g("Unsqueeze", first, _AT_0), steps, axis=0)
    centers = g("CumSum", steps, np.array(0))
    place, shown = _places(g, axis, axis.size)
    chosen = g("Floor", g("Gather", centers, g("Cast", place, to=TensorProto.INT64)))
    inside = _both(g, [shown, g("Less", chosen, axis.count)])
    index = g("Cast", g("Min", chosen, g("Sub", axis.count, 1.0)), to=TensorProto.INT64)
    pixels = g("Gather", image, index, axis=position)
    behind = np.arange(1, 4 - position)
    return g("Where", g("Unsqueeze", inside, behind), pixels, np.zeros((), np.uint8))


# --- Weighted sums of pixels ---------------------------------------------------------------------


def _resampled(
    g: _Nodes, image: Value, rows: _Axis, columns: _Axis, channels: int, kernel: _Filter
) -> Value:
    """uint8 [B, H, W, C]: one axis after the other, rounded to bytes in between."""
    by_row, by_column = (_weights(g, axis, kernel) for axis in (rows, columns))
    lengths = g("Shape", image, start=0, end=3)
    batch, height, width = g.several("Split", 3, lengths, np.array([1, 1, 1]), axis=0)
    high, wide, deep = (np.array([size]) for size in (rows.size, columns.size, channels))

    # What is resampled comes first, in a table [pixels, all others]. Columns and channels are
    # turned as one axis: ONNX Runtime is quick at that.
    def columns_first(g: _Nodes) -> Value:
        flat = g("Reshape", image, g("Concat", batch, height, np.array([-1]), axis=0))
        table = g("Transpose", flat, perm=[2, 0, 1])  # [width * C, B, height]
        table = _weighted(g, _table(g, table, width), by_column)
        table = g("Reshape", table, g("Concat", wide * deep, batch, height, axis=0))
        table = g("Transpose", table, perm=[2, 1, 0])  # [height, B, W * C]
        table = _weighted(g, _table(g, table, height), by_row)
        table = g("Reshape", table, g("Concat", high, batch, wide, deep, axis=0))
        return g("Transpose", table, perm=[1, 0, 2, 3])

    def rows_first(g: _Nodes) -> Value:
        table = g("Transpose", image, perm=[1, 0, 2, 3])  # [height, B, width, C]
        table = _weighted(g, _table(g, table, height), by_row)
        table = g("Reshape", table, g("Concat", high, batch, width, deep, axis=0))
        table = g("Transpose", table, perm=[2, 1, 0, 3])  # [width, B, H, C]
        table = _weighted(g, _table(g, table, width), by_column)
        table = g("Reshape", table, g("Concat", wide, batch, high, deep, axis=0))
        return g("Transpose", table, perm=[1, 2, 0, 3])

    if _PILLOW < (12, 2):
        return columns_first(g)
    return g.either(_tall(g, rows, columns), rows_first, columns_first, TensorProto.UINT8)


# major and minor version
_PILLOW = tuple(map(int, PIL.__version__.split(".")[:2]))


def _tall(g: _Nodes, rows: _Axis, columns: _Axis) -> Value:
    """Whether Pillow begins with the rows, so that less is left to do for the columns."""
    lost = g("Sub", rows.count, rows.shown)
    if _PILLOW < (13, 0):
        tall = g("Greater", rows.count, g("Mul", columns.count, 100.0))
    else:
        tall = g("Greater", lost, g("Mul", g("Sub", columns.count, columns.shown), 2.0))
    return _both(g, [g("Greater", lost, 0.0), tall])


def _table(g: _Nodes, value: Value, pixels: Value) -> Value:
    """uint8 [pixels, all others]."""
    return g("Reshape", value, g("Concat", pixels, np.array([-1]), axis=0))


@dataclass(frozen=True)
class _Weights:
    """What the pixels of a result are made of, in tiles.

    Attributes:
        size: pixels of the result; the last tile may have more.
        tiles, tile: how many tiles of how many pixels.
        digits: of the weights, uint8 [tiles, 3 * tile, window], the lowest first; 0 is DIGIT_ZERO.
        pixels: number of the pixel that each weighs, int64 [tiles, window].
    """

    size: int
    tiles: int
    tile: int
    digits: Value
    pixels: Value


def _weighted(g: _Nodes, table: Value, weights: _Weights) -> Value:
    """uint8 [size, N] of uint8 [count, N]: each row a weighted sum of those around its place."""
    tiles, tile = weights.tiles, weights.tile
    # [tiles, 3 * tile, N] of [tiles, 3 * tile, window] and [tiles, window, N]
    sums = g(
        "MatMulInteger",
        weights.digits,
        g("Gather", table, weights.pixels, axis=0),
        np.array(DIGIT_ZERO, np.uint8),
        np.array(0, np.uint8),
    )
    low, middle, high = g.several("Split", 3, sums, np.array([tile] * 3), axis=1)
    total = g("Add", g("Mul", middle, _int32(256)), low)
    total = g("Add", g("Mul", high, _int32(65536)), total)
    total = g("Max", g("Add", total, _int32(1 << (WEIGHT_BITS - 1))), _int32(0))
    total = g("Min", g("Div", total, _int32(1 << WEIGHT_BITS)), _int32(255))
    others = g("Shape", table, start=1, end=2)
    shape = g("Concat", np.array([tiles * tile]), others, axis=0)
    rows = g("Reshape", g("Cast", total, to=TensorProto.UINT8), shape)
    return g("Slice", rows, np.array([0]), np.array([weights.size]), np.array([0]))


def _weights(g: _Nodes, axis: _Axis, kernel: _Filter) -> _Weights:
    tile = min(TILE, axis.size)
    tiles = -(-axis.size // tile)
    place, shown = _places(g, axis, tiles * tile)
    scale = _scale(g, axis)
    center = g("Add", g("Mul", g("Add", place, 0.5), scale), axis.start)
    stretch = g("Max", scale, 1.0)  # pixels are averaged where there are many
    reach = g("Mul", stretch, kernel.support)
    low = g("Max", g("Floor", g("Add", g("Sub", center, reach), 0.5)), 0.0)
    high = g("Min", g("Floor", g("Add", g("Add", center, reach), 0.5)), axis.count)

    shape = np.array([tiles, tile, 1])
    low, high = g("Reshape", low, shape), g("Reshape", high, shape)
    first = g("Slice", low, np.array([0]), np.array([1]), np.array([1]))  # [tiles, 1, 1]
    last = g("Slice", high, np.array([tile - 1]), np.array([tile]), np.array([1]))
    longest = g("ReduceMax", g("Sub", last, first), keepdims=0)
    pixel = g("Add", g("Range", 0.0, longest, 1.0), first)  # [tiles, 1, window]

    distance = g("Add", g("Sub", pixel, g("Reshape", center, shape)), 0.5)
    weight = kernel.weight(g, g("Mul", distance, g("Div", 1.0, stretch)))
    within = _both(g, [g("GreaterOrEqual", pixel, low), g("Less", pixel, high)])
    within = _both(g, [within, g("Reshape", shown, shape)])
    weight = g("Where", within, weight, 0.0)
    total = g("ReduceSum", weight, np.array([2]))
    weight = g("Div", weight, g("Where", g("Equal", total, 0.0), 1.0, total))
    digits = _digits(g, g("Mul", weight, float(1 << WEIGHT_BITS)))

    # the last window may reach beyond the image, with weights of 0
    pixel = g("Min", g("Squeeze", pixel, np.array([1])), g("Sub", axis.count, 1.0))
    pixels = g("Cast", pixel, to=TensorProto.INT64)
    return _Weights(axis.size, tiles, tile, digits, pixels)


def _digits(g: _Nodes, weight: Value) -> Value:
    """Three digits of the nearest integer, one below the other: uint8 [tiles, 3 * tile, window]."""
    half = g("Where", g("Less", weight, 0.0), -0.5, 0.5)
    # to int32 and back, which cuts off towards zero as C does
    rest = g("Cast", g("Cast", g("Add", weight, half), to=TensorProto.INT32), to=TensorProto.DOUBLE)
    digits = []
    for _ in range(2):
        above = g("Floor", g("Div", g("Add", rest, 128.0), 256.0))
        digits.append(g("Sub", rest, g("Mul", above, 256.0)))
        rest = above
    together = g("Concat", *digits, rest, axis=1)
    return g("Cast", g("Add", together, float(DIGIT_ZERO)), to=TensorProto.UINT8)


def _bilinear(g: _Nodes, x: Value) -> Value:
    return g("Max", g("Sub", 1.0, g("Abs", x)), 0.0)


def _bicubic(g: _Nodes, x: Value) -> Value:
    x = g("Abs", x)
    near = g("Mul", g("Sub", g("Mul", x, 1.5), 2.5), x)
    near = g("Add", g("Mul", near, x), 1.0)
    far = g("Mul", g("Add", g("Mul", g("Sub", x, 5.0), x), 8.0), x)
    far = g("Mul", g("Sub", far, 4.0), -0.5)
    far = g("Where", g("Less", x, 2.0), far, 0.0)
    return g("Where", g("Less", x, 1.0), near, far)


def _lanczos(g: _Nodes, x: Value) -> Value:
    inside = _both(g, [g("GreaterOrEqual", x, -3.0), g("Less", x, 3.0)])
    return g("Where", inside, g("Mul", _sinc(g, x), _sinc(g, g("Div", x, 3.0))), 0.0)


def _sinc(g: _Nodes, x: Value) -> Value:
    is_zero = g("Equal", x, 0.0)
    angle = g("Where", is_zero, 1.0, g("Mul", x, float(np.pi)))
    return g("Where", is_zero, 1.0, g("Div", g("Sin", angle), angle))


_FILTERS = {
    "bilinear": _Filter(1.0, _bilinear),
    "bicubic": _Filter(2.0, _bicubic),
    "lanczos": _Filter(3.0, _lanczos),
}


# --- Transparency --------------------------------------------------------------------------------


def _premultiplied(g: _Nodes, image: Value, untouched: Value) -> Value:
    """Colours times their opacity, so that transparent pixels do not count when they are mixed."""
    colour, opacity = g.several("Split", 2, image, np.array([3, 1]), axis=3)
    share = g("Mul", g("Cast", opacity, to=TensorProto.FLOAT), np.array(1 / 255, np.float32))
    # no product of two bytes lies half-way between two multiples of 255
    share = g("Where", untouched, np.array(1, np.float32), share)
    product = g("Round", g("Mul", g("Cast", colour, to=TensorProto.FLOAT), share))
    return g("Concat", g("Cast", product, to=TensorProto.UINT8), opacity, axis=3)


def _divided(g: _Nodes, image: Value, untouched: Value) -> Value:
    """The inverse, on the small image."""
    colour, opacity = g.several("Split", 2, image, np.array([3, 1]), axis=3)
    wide, divisor = (g("Cast", value, to=TensorProto.INT32) for value in (colour, opacity))
    clear = g("Or", untouched, g("Equal", divisor, _int32(0)))
    divisor = g("Where", clear, _int32(255), divisor)
    quotient = g("Min", g("Div", g("Mul", wide, _int32(255)), divisor), _int32(255))
    return g("Concat", g("Cast", quotient, to=TensorProto.UINT8), opacity, axis=3)


def _int32(value: int) -> npt.NDArray[np.int32]:
    return np.array(value, np.int32)


_AT_0 = np.array([0])
