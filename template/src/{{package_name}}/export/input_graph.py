"""Preprocessing inside an ONNX file: a graph before the network's, held against preprocessing.py.

A modality that has such a graph offers it in `dummy_inputs.input_graph`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from ..errors import ExportError
from .parity import TOLERANCE, Reference, answers
from .signature import ExportedNetwork, InputSignature

if TYPE_CHECKING:
    import onnx

# the one format that holds it
FORMAT = "onnx"


class InputGraph(Protocol):
    """From samples as clients have them to what the network takes."""

    signature: InputSignature
    """What goes in, instead of the network's inputs."""
    meaning: str
    """What a client puts into it, in a sentence."""
    opset: int
    """The oldest version of ONNX's operators that has those of the graph."""

    def sizes(self) -> list[dict[str, int]]:
        """Sizes of the named axes at which it is compared with preprocessing.py."""

    def own_size(self, batch: int) -> dict[str, int]:
        """Sizes of the named axes of samples that are as the network takes them already."""

    def random_samples(
        self, sizes: Mapping[str, int], generator: torch.Generator
    ) -> dict[str, npt.NDArray[Any]]:
        """A batch of them."""

    def read_example(self, path: Path) -> dict[str, npt.NDArray[Any]]:
        """The stored example as a batch of one."""

    def preprocess(
        self, samples: Mapping[str, npt.NDArray[Any]]
    ) -> dict[str, npt.NDArray[np.float32]]:
        """The network's inputs, made by preprocessing.py."""

    def graph(self) -> onnx.GraphProto:
        """The same as operators; inputs and outputs go by the names above."""


def describe(inside: InputGraph) -> list[dict[str, Any]]:
    """Its inputs, as metadata.json has them."""
    return [tensor.to_dict() | {"meaning": inside.meaning} for tensor in inside.signature.tensors]


def sample_reference(network: ExportedNetwork, inside: InputGraph) -> Reference:
    """What the network answers to samples that preprocessing.py prepared.

    Raises:
        ExportError: as `answers`.
    """
    generator = torch.Generator().manual_seed(0)
    sizes = inside.sizes()
    samples = [inside.random_samples(each, generator) for each in sizes]
    prepared = [inside.preprocess(batch) for batch in samples]
    return replace(answers(network, sizes, prepared), inputs=samples)


def prepend(path: Path, inside: InputGraph) -> None:
    """Put the graph before the network in an ONNX file, whose weights may lie beside it.

    Raises:
        ExportError: the graph does not compute what preprocessing.py does with the libraries that
            are installed.
    """
    import onnx

    graph = inside.graph()
    _compare(graph, inside)
    model = onnx.load(path, load_external_data=False)
    nodes, inputs = [*graph.node, *model.graph.node], list(graph.input)
    for field, values in (("node", nodes), ("input", inputs)):
        model.graph.ClearField(field)
        getattr(model.graph, field).extend(values)
    model.graph.initializer.extend(graph.initializer)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    properties["inputs"] = json.dumps(describe(inside), ensure_ascii=False)
    onnx.helper.set_model_props(model, properties)
    onnx.save(model, path)


def _compare(graph: onnx.GraphProto, inside: InputGraph) -> None:
    import onnx
    import onnxruntime

    opset = onnx.helper.make_opsetid("", inside.opset)
    # the oldest that onnxruntime reads whatever onnx it was built with
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    generator = torch.Generator().manual_seed(1)
    for sizes in inside.sizes():
        samples = inside.random_samples(sizes, generator)
        expected = inside.preprocess(samples)
        actual = session.run(list(expected), dict(samples))
        for name, values in zip(expected, actual, strict=True):
            error = float(np.abs(values - expected[name]).max())
            if not error <= TOLERANCE:
                raise ExportError(
                    f"{FORMAT}: the preprocessing in it differs from preprocessing.py by "
                    f"{error:.1e} at {', '.join(f'{a} {n}' for a, n in sizes.items())} "
                    f"(tolerance {TOLERANCE:.0e}): a library does otherwise than the graph knows; "
                    "export with export_preprocessing: false"
                )
