"""The Open Inference Protocol v2 over HTTP, with its binary tensor extension.

What KServe and Triton clients speak: tensors in, tensors out, no preprocessing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..engine import InvalidInput, Item
from ..predictions import NotFinite
from ..sessions import LOGITS, Array
from .payloads import parse_json

# what requests call the one model of a bundle
MODEL, VERSION = "model", "1.0"
# the protocol's names of element types
DATATYPES = {"float32": "FP32", "int64": "INT64", "uint8": "UINT8"}
PLATFORMS = {"onnx": "onnxruntime_onnx"}
HEADER_LENGTH = "inference-header-content-length"

TENSORS = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["name", "shape", "datatype"],
        "properties": {
            "name": {"type": "string"},
            "shape": {"type": "array", "items": {"type": "integer"}},
            "datatype": {"type": "string"},
            "data": {"type": "array", "items": {}},
            "parameters": {"type": "object"},
        },
    },
}
REQUEST_SCHEMA = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "inputs": TENSORS,
        "outputs": {"type": "array", "items": {"type": "object"}},
    },
}
RESPONSE_SCHEMA = {
    "type": "object",
    "required": ["model_name", "model_version", "outputs"],
    "properties": {
        "model_name": {"type": "string"},
        "model_version": {"type": "string"},
        "id": {"type": "string"},
        "outputs": TENSORS,
    },
}


@dataclass(frozen=True)
class InferRequest:
    """A checked request.

    Attributes:
        id: the client's own name for it.
        items: one for each row of the batch.
        binary_output: send the output as bytes behind the JSON.
        classes: send so many of the largest logits of each row by their class, in place of all
            logits; 0 for these.
    """

    id: str | None
    items: list[Item]
    binary_output: bool
    classes: int = 0


def describe_model(metadata: Mapping[str, Any], format: str) -> dict[str, Any]:
    """The answer to `GET /v2/models/model`, for the artifact that runs."""
    return {
        "name": MODEL,
        "versions": [VERSION],
        "platform": PLATFORMS.get(format, "pytorch_libtorch"),
        "inputs": [_describe_tensor(tensor) for tensor in metadata["inputs"]],
        "outputs": [_describe_tensor(tensor) for tensor in metadata["outputs"]],
    }


def index_repository() -> list[dict[str, str]]:
    """The answer to `POST /v2/repository/index`."""
    return [{"name": MODEL, "version": VERSION, "state": "READY", "reason": ""}]


def _describe_tensor(tensor: Mapping[str, Any]) -> dict[str, Any]:
    shape = [size if isinstance(size, int) else -1 for size in tensor["shape"]]
    return {"name": tensor["name"], "datatype": DATATYPES[tensor["dtype"]], "shape": shape}


def parse_request(
    body: bytes, header_length: str | None, metadata: Mapping[str, Any], max_items: int
) -> InferRequest:
    """Check a request against the model's signature.

    Args:
        body: JSON, followed by bytes of tensors where `header_length` says how long the JSON is.
        header_length: value of the protocol's header, if it was sent.
        metadata: the bundle's; its `inputs` and `limits` are what may come.
        max_items: most rows.

    Raises:
        InvalidInput: anything that does not fit; says what.
    """
    if header_length is None:
        document, binary = body, b""
    elif header_length.isdecimal() and int(header_length[:20]) <= len(body):
        document, binary = body[: int(header_length)], body[int(header_length) :]
    else:
        raise InvalidInput(f"{HEADER_LENGTH} is not the length of the JSON part")
    request = parse_json(document)
    if not isinstance(request, dict) or not isinstance(request.get("inputs"), list):
        raise InvalidInput('a request is {"inputs": [{"name", "shape", "datatype", "data"}]}')
    if not isinstance(request.get("id", ""), str):
        raise InvalidInput("id is not a string")
    classes = _check_outputs(request.get("outputs", []), metadata)
    tensors = _read_tensors(request["inputs"], memoryview(binary), metadata["inputs"])
    rows = _check_axes(tensors, metadata, max_items)
    items = [Item((name, array[row]) for name, array in tensors.items()) for row in range(rows)]
    return InferRequest(request.get("id"), items, _wants_binary(request), classes)


def format_response(
    request: InferRequest, logits: Sequence[Array], class_names: Sequence[str]
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of the answer.

    Raises:
        NotFinite: a logit is NaN or infinity, and JSON is to hold it.
    """
    array = np.stack(logits).astype(np.float32)
    output: dict[str, Any] = {"name": LOGITS, "datatype": "FP32", "shape": list(array.shape)}
    answer: dict[str, Any] = {"model_name": MODEL, "model_version": VERSION, "outputs": [output]}
    if request.id is not None:
        answer["id"] = request.id
    texts: list[str] | None = None
    if request.classes:
        texts = [text for row in array for text in _classes(row, request.classes, class_names)]
        output |= {"datatype": "BYTES", "shape": [len(array), len(texts) // len(array)]}
    if not request.binary_output:
        if texts is None and not np.isfinite(array).all():
            raise NotFinite
        output["data"] = array.ravel().tolist() if texts is None else texts
        return json.dumps(answer).encode(), {"content-type": "application/json"}
    data = array.tobytes() if texts is None else b"".join(map(_sized, texts))
    output["parameters"] = {"binary_data_size": len(data)}
    document = json.dumps(answer).encode()
    return document + data, {
        "content-type": "application/octet-stream",
        HEADER_LENGTH: str(len(document)),
    }


def _classes(logits: Array, count: int, class_names: Sequence[str]) -> list[str]:
    """The largest logits, best first, each as `value:index:name`."""
    order = np.argsort(-logits, kind="stable")[:count].tolist()
    suffixes = [f":{name}" for name in class_names] or [""] * len(logits)
    return [f"{logits[index]:f}:{index}{suffixes[index]}" for index in order]


def _sized(text: str) -> bytes:
    """A text behind its length, as the protocol has BYTES."""
    data = text.encode()
    return len(data).to_bytes(4, "little") + data


def _read_tensors(
    entries: Sequence[object], binary: memoryview, specs: Sequence[Mapping[str, Any]]
) -> dict[str, Array]:
    by_name = {spec["name"]: spec for spec in specs}
    tensors: dict[str, Array] = {}
    offset = 0
    for entry in entries:
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or not isinstance(name, str) or name not in by_name:
            raise InvalidInput(f"inputs are {', '.join(by_name)}; there is no {str(name)[:80]!r}")
        if name in tensors:
            raise InvalidInput(f"{name} is given twice")
        spec = by_name[name]
        if entry.get("datatype") != DATATYPES[spec["dtype"]]:
            raise InvalidInput(f"{name} has datatype {DATATYPES[spec['dtype']]}")
        shape = _read_shape(entry.get("shape"), name)
        parameters = entry.get("parameters")
        size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
        if size is None:
            array = _from_json(entry.get("data"), spec["dtype"], name)
        else:
            expected = math.prod(shape) * np.dtype(spec["dtype"]).itemsize
            if size != expected or offset + expected > len(binary):
                raise InvalidInput(f"{name} of this shape takes {expected} bytes")
            array = np.frombuffer(binary[offset : offset + expected], dtype=spec["dtype"])
            offset += expected
        if array.size != math.prod(shape):
            raise InvalidInput(f"{name} has {array.size} values; its shape asks for another number")
        tensors[name] = array.reshape(shape)
    if missing := [name for name in by_name if name not in tensors]:
        raise InvalidInput(f"{', '.join(missing)} is missing")
    return {name: tensors[name] for name in by_name}


def _read_shape(shape: object, name: str) -> list[int]:
    valid = isinstance(shape, list) and all(type(n) is int and 1 <= n < 2**31 for n in shape)
    if not isinstance(shape, list) or not valid:
        raise InvalidInput(f"the shape of {name} is no list of positive whole numbers")
    return shape


def _from_json(data: object, dtype: str, name: str) -> Array:
    try:
        array = np.asarray(data)
    except (ValueError, OverflowError, RecursionError) as error:
        raise InvalidInput(f"data of {name} is ragged or no list of numbers") from error
    kinds = "iuf" if dtype == "float32" else "iu"
    if array.dtype.kind not in kinds or not isinstance(data, list):
        raise InvalidInput(f"data of {name} is no list of {DATATYPES[dtype]} numbers")
    if dtype == "uint8" and not (array.min(initial=0) >= 0 and array.max(initial=0) <= 255):
        raise InvalidInput(f"data of {name} holds numbers beyond 0 to 255")
    with np.errstate(over="ignore"):  # the engine refuses the infinity
        return array.astype(dtype)


def _check_axes(tensors: Mapping[str, Array], metadata: Mapping[str, Any], max_items: int) -> int:
    limits = {**metadata["limits"], "batch": max_items}
    sizes: dict[str, int] = {}
    for spec in metadata["inputs"]:
        name, shape = spec["name"], tensors[spec["name"]].shape
        wanted = ", ".join(str(axis) for axis in spec["shape"])
        if len(shape) != len(spec["shape"]):
            raise InvalidInput(f"{name} has {len(shape)} axes; it must be [{wanted}]")
        for size, axis in zip(shape, spec["shape"], strict=True):
            expected = axis if isinstance(axis, int) else sizes.setdefault(axis, size)
            if size != expected:
                raise InvalidInput(f"{name} is {list(shape)}; it must be [{wanted}]")
            if isinstance(axis, str) and size > limits.get(axis, size):
                raise InvalidInput(f"{axis} is {size}; the limit is {limits[axis]}")
    return sizes["batch"]


def _check_outputs(outputs: object, metadata: Mapping[str, Any]) -> int:
    """How many classes are wanted in place of logits; 0 for logits."""
    if not isinstance(outputs, list):
        raise InvalidInput("outputs is no list")
    classes: object = 0
    for output in outputs:
        if not isinstance(output, dict) or output.get("name") != LOGITS:
            raise InvalidInput(f"the only output is {LOGITS}")
        parameters = output.get("parameters")
        if isinstance(parameters, dict):
            classes = parameters.get("classification", 0)
    if type(classes) is not int or classes < 0:
        raise InvalidInput("classification is no number of classes")
    if classes and len(metadata["outputs"][0]["shape"]) != 2:
        raise InvalidInput("this model gives no class for an input; leave out classification")
    return classes


def _wants_binary(request: Mapping[str, Any]) -> bool:
    places = [(request, "binary_data_output")]
    places += [(output, "binary_data") for output in request.get("outputs", [])]
    for place, key in places:
        parameters = place.get("parameters")
        if isinstance(parameters, dict) and parameters.get(key) is True:
            return True
    return False
