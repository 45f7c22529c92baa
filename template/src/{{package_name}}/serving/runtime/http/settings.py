"""What can be configured about the server, as an option or as an environment variable."""

from __future__ import annotations

import argparse
import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ..engine import InferenceEngine

ENVIRONMENT = "SERVER_"
# what Kubernetes tells containers of a service whose name is `server`, or begins so
SERVICE_VARIABLE = re.compile(
    r"\w+_SERVICE_(HOST|PORT(_\w+)?)|\w+_PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?"
)


def _setting(
    default: Any,
    help: str,
    *,
    positive: bool = False,
    most: float = float("inf"),
    unit: str = "",
    choices: Sequence[str] = (),
) -> Any:
    known = {"help": help, "positive": positive, "most": most, "unit": unit, "choices": choices}
    return field(default=default, metadata=known)


@dataclass(frozen=True)
class Settings:
    """What can be configured; the metadata of a field holds its help text and its range.

    `{unit}` in a help text is the engine's, by the name that the metadata has.
    """

    host: str = _setting("127.0.0.1", "address to listen on; 0.0.0.0 for all")
    port: int = _setting(8080, "port to listen on", most=65535)
    workers: int = _setting(1, "processes, each with its own copy of the model", positive=True)
    format: str = _setting("", "artifact to run; empty for the bundle's first")
    threads: int = _setting(0, "threads of one run; 0 for the cores divided by the workers")
    batch_size: int = _setting(16, "most items in one run", positive=True)
    batch_delay_ms: float = _setting(0.0, "how long a run waits for more items, in milliseconds")
    queue_size: int = _setting(
        256, "most items waiting or running in a worker; 429 beyond", positive=True
    )
    timeout_s: float = _setting(
        30.0, "longest a request may take, in seconds; 504 beyond", positive=True
    )
    body_timeout_s: float = _setting(
        30.0, "longest a body may take to arrive, in seconds; 408 beyond", positive=True
    )
    grace_s: float = _setting(10.0, "seconds to finish what was accepted when told to stop")
    max_body_bytes: int = _setting(
        20_000_000, "largest body of a request, decompressed; 413 beyond", positive=True
    )
    max_held_bytes: int = _setting(
        400_000_000, "bytes of all bodies that a worker holds; 503 beyond", positive=True
    )
    max_items: int = _setting(64, "most items in one request; 413 beyond", positive=True)
    max_item_size: int = _setting(
        0, "largest item, in {unit}; 0 for that of training", unit="item_unit"
    )
    max_answer_size: int = _setting(
        1024,
        "largest answer, in {unit}; 400 if more is asked for",
        positive=True,
        unit="answer_unit",
    )
    device: str = _setting("auto", "what runs the model: auto, cpu, cuda, or another one")
    digest: str = _setting("", "what metadata.json must have, sha256:...; empty for anything")
    token_file: str = _setting("", "file of bearer tokens, one a line, any of which will do")
    cors_origins: str = _setting(
        "", "origins whose pages may ask, with commas between; * for all, empty for none"
    )
    access_log: str = _setting("json", "a line for each request", choices=("json", "text", "off"))
    telemetry: bool = _setting(False, "trace requests with OpenTelemetry; see the README")
    page: bool = _setting(True, "serve the pages for people, / and /docs")

    @classmethod
    def from_environment(cls) -> Settings:
        """Values of the SERVER_ variables, defaults for the rest.

        Raises:
            ValueError: a variable that is no number where one is needed.
        """
        found = {}
        for setting in fields(cls):
            variable = ENVIRONMENT + setting.name.upper()
            text = os.environ.get(variable)
            if text is not None and not _is_of_kubernetes(variable, text):
                try:
                    found[setting.name] = _reader(setting.default)(text)
                except ValueError:
                    raise ValueError(f"{variable} is {text!r}") from None
        return cls(**found)

    @classmethod
    def from_arguments(
        cls, arguments: Sequence[str] | None, engine_class: type[InferenceEngine]
    ) -> Settings:
        """Values of the options, those of the environment for the rest.

        Args:
            arguments: of the command line; the process's own by default.
            engine_class: of the bundle; its units are what sizes are counted in.

        Raises:
            ValueError: a value out of its range, or as `from_environment`.
        """
        defaults = cls.from_environment()
        parser = argparse.ArgumentParser(
            prog="server.py", description="Serve this bundle", allow_abbrev=False
        )
        for setting in fields(cls):
            default = getattr(defaults, setting.name)
            unit = setting.metadata["unit"]
            if unit and not getattr(engine_class, unit):
                continue
            meaning = setting.metadata["help"].format(unit=unit and getattr(engine_class, unit))
            parser.add_argument(
                f"--{setting.name}",
                type=_reader(setting.default),
                default=default,
                choices=setting.metadata["choices"] or None,
                help=meaning if default == "" else f"{meaning} ({default})",
            )
        settings = replace(defaults, **vars(parser.parse_args(arguments)))
        settings._check()
        return settings

    def to_environment(self) -> dict[str, str]:
        """The variables from which `from_environment` reads these settings."""
        return {
            ENVIRONMENT + setting.name.upper(): str(getattr(self, setting.name))
            for setting in fields(self)
        }

    def _check(self) -> None:
        for setting in fields(self):
            known, value = setting.metadata, getattr(self, setting.name)
            if known["choices"] and value not in known["choices"]:
                raise ValueError(f"{setting.name} is {value!r}; give {', '.join(known['choices'])}")
            if isinstance(value, (int, float)):
                _check_range(setting.name, value, known["positive"], known["most"])


def _check_range(name: str, value: float, positive: bool, most: float) -> None:
    least = "more than 0" if positive else "0 or more"
    if not 0 <= value < math.inf or (positive and not value):
        raise ValueError(f"{name} is {value}; give {least}")
    if value > most:
        raise ValueError(f"{name} is {value}; give {most:g} or less")


def unknown_variables() -> list[str]:
    """Names in the environment that look like settings and are none."""
    known = {ENVIRONMENT + setting.name.upper() for setting in fields(Settings)}
    known |= {ENVIRONMENT + name for name in ("TOKEN",)}
    return sorted(
        name
        for name, value in os.environ.items()
        if name.startswith(ENVIRONMENT) and name not in known and not _is_of_kubernetes(name, value)
    )


def _is_of_kubernetes(variable: str, value: str) -> bool:
    """Whether this tells of a service called server, as Kubernetes tells every container."""
    if variable == f"{ENVIRONMENT}PORT":
        return "://" in value
    return bool(SERVICE_VARIABLE.fullmatch(variable))


def _reader(default: Any) -> Callable[[str], Any]:
    """What makes a setting's value of a text."""
    return _true_or_false if isinstance(default, bool) else type(default)


def _true_or_false(text: str) -> bool:
    try:
        return {"true": True, "false": False}[text.lower()]
    except KeyError:
        raise ValueError(f"{text!r} is neither true nor false") from None
