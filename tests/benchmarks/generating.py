"""How fast a bundle continues a text."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .harness import (
    Project,
    Row,
    Scale,
    Target,
    Way,
    benchmark,
    interleave,
    project,
    rate,
    versions,
)

CACHED, ANEW = "key-value cache", "whole text for each token"
PEER = "transformers, GPT-2 of that size"
LIBRARIES = {"onnx": "onnxruntime", "torchscript": "torch", "pytorch": "torch"}
# weights of a fresh network say nearly the same of every text; larger ones do not
SPREAD = 3


@dataclass(frozen=True)
class Sizes:
    """Of the network, and of the text."""

    vocabulary: int = 4096
    longest: int = 512
    width: int = 256
    depth: int = 6
    heads: int = 4
    prompt: int = 64
    new: int = 256


TOY = Sizes(vocabulary=300, longest=32, width=32, depth=2, heads=2, prompt=8, new=16)


@benchmark("Continuing a text", minutes=5)
def generating(scale: Scale) -> Iterator[Row]:
    """Formats of a bundle with their cache and without; beside them transformers, eagerly."""
    sizes = TOY if scale.toy else Sizes()
    with project("text") as found:
        bundle = _bundle(found, sizes)
        prompt = np.random.default_rng(0).integers(0, sizes.vocabulary // 2, sizes.prompt)
        peer = _peer(prompt, sizes)
        for name, library in LIBRARIES.items():
            cached, anew = (
                _continuation(bundle, name, keep, prompt, sizes) for keep in (True, False)
            )
            _check_equal(name, cached(), anew(), sizes)
            ways: dict[str, Callable[[], Sequence[int]]] = {CACHED: cached, ANEW: anew, PEER: peer}
            if name != "pytorch":  # which it is to be compared with
                del ways[PEER]
            values = interleave({way: rate(sizes.new, run) for way, run in ways.items()}, scale)
            of = {CACHED: "ours", ANEW: versions(library), PEER: versions("transformers", "torch")}
            yield Row(
                f"{sizes.new} tokens behind {sizes.prompt}, {name}; {sizes.depth} layers of "
                f"{sizes.width}, {sizes.vocabulary} tokens in all",
                "tokens/s",
                [Way(way, of[way], values[way]) for way in ways],
                [Target(CACHED, ANEW, least=5)],
            )


def _bundle(found: Project, sizes: Sizes) -> Path:
    """A bundle of a network with random weights."""
    config = found.config(
        task="lm",
        max_seq_len=sizes.longest,
        vocab_size=sizes.vocabulary,
        model=f"{found.package}.model:Decoder",
        model_args={"width": sizes.width, "depth": sizes.depth, "heads": sizes.heads},
        export_formats=list(LIBRARIES),
    )
    # Python's own sources, until there are words enough
    files = sorted(Path(os.__file__).parent.glob("*.py"))
    texts = [path.read_text("utf-8") for path in files[: 10 if sizes == TOY else None]]
    tokenizer = found.module("data.reading").learn_tokenizer(texts, sizes.vocabulary)
    rows = importlib.import_module("datasets").Dataset.from_dict({})
    splits = found.module("data.splits").Splits(rows, rows, [], tokenizer)
    task_spec = found.module("task").TaskSpec.from_config(config, splits)
    torch.manual_seed(0)
    network_args = found.module("catalogues").network_args(config)
    architecture = found.module("architecture").Architecture.resolve(
        config.model, task_spec, network_args
    )
    network = architecture.build()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(SPREAD)
    create = found.module("export.bundle").create_export_bundle
    bundle: Path = create(
        network,
        None,
        task_spec,
        config,
        found.folder / "exports",
        architecture=architecture,
        processor=tokenizer,
    )
    sys.path.insert(0, str(bundle))
    return bundle


def _continuation(
    bundle: Path, artifact: str, keep: bool, prompt: np.ndarray[Any, Any], sizes: Sizes
) -> Callable[[], Sequence[int]]:
    """What continues the prompt by the bundle's own code, and gives the tokens."""
    inference = importlib.import_module("inference")
    engine = inference.Engine(bundle, artifact)
    engine.generation = inference.Generation(max_new_tokens=sizes.new)
    if not keep:
        engine.session.sequence = lambda: None
    tokens, choose = list[int](), engine._choose

    def watched_choose(*arguments: Any) -> int:
        tokens.append(choose(*arguments))
        return tokens[-1]

    engine._choose = watched_choose
    item = {"input_ids": prompt, "attention_mask": np.ones_like(prompt)}

    def run() -> Sequence[int]:
        tokens.clear()
        engine.interpret(item, engine.logits([item])[0])
        return tuple(tokens)

    return run


def _peer(prompt: np.ndarray[Any, Any], sizes: Sizes) -> Callable[[], Sequence[int]]:
    """GPT-2 with its own cache, not compiled, in transformers' loop."""
    transformers = importlib.import_module("transformers")
    settings = transformers.GPT2Config(
        vocab_size=sizes.vocabulary,
        n_positions=sizes.longest,
        n_embd=sizes.width,
        n_layer=sizes.depth,
        n_head=sizes.heads,
        bos_token_id=0,
        eos_token_id=None,
        pad_token_id=0,
    )
    network = transformers.GPT2LMHeadModel(settings).eval()
    ids = torch.from_numpy(prompt)[None]

    def run() -> Sequence[int]:
        with torch.inference_mode():
            found = network.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=sizes.new,
                do_sample=False,
                use_cache=True,
            )
        return tuple(found[0, len(prompt) :].tolist())

    if len(run()) != sizes.new:
        raise RuntimeError(f"{PEER}: gave another number of tokens than {sizes.new}")
    return run


def _check_equal(name: str, cached: Sequence[int], anew: Sequence[int], sizes: Sizes) -> None:
    """Refuse to measure what gives other tokens, too few, or always the same."""
    if cached != anew:
        raise RuntimeError(f"{name}: with a cache other tokens follow: {cached}, not {anew}")
    if len(cached) != sizes.new or len(set(cached)) < sizes.new // 4:
        raise RuntimeError(
            f"{name}: {len(cached)} tokens, {len(set(cached))} of them different; "
            f"{sizes.new} were wanted, a quarter of them different"
        )
