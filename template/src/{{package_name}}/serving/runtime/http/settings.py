"""What can be configured about the server, as an option or as an environment variable."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

ENVIRONMENT = "SERVER_"


def _setting(default: Any, help: str, *, positive: bool = False) -> Any:
    return field(default=default, metadata={"help": help, "positive": positive})


@dataclass(frozen=True)
class Settings:
    """What can be configured; the metadata of a field holds its help text and its range.

    `{item_unit}` in a help text is the engine's.
    """

    host: str = _setting("127.0.0.1", "address to listen on; 0.0.0.0 for all")
    port: int = _setting(8080, "port to listen on")
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
    grace_s: float = _setting(10.0, "seconds to finish what was accepted when told to stop")
    max_body_bytes: int = _setting(20_000_000, "largest body of a request; 413 beyond")
    max_items: int = _setting(64, "most items in one request; 413 beyond", positive=True)
    max_item_size: int = _setting(0, "largest item, in {item_unit}; 0 for that of training")
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
            if text is not None:
                try:
                    found[setting.name] = _reader(setting.default)(text)
                except ValueError:
                    raise ValueError(f"{variable} is {text!r}") from None
        return cls(**found)

    @classmethod
    def from_arguments(cls, arguments: Sequence[str] | None, item_unit: str) -> Settings:
        """Values of the options, those of the environment for the rest.

        Args:
            arguments: of the command line; the process's own by default.
            item_unit: what `max_item_size` is counted in.

        Raises:
            ValueError: a number out of its range, or as `from_environment`.
        """
        defaults = cls.from_environment()
        parser = argparse.ArgumentParser(prog="server.py", description="Serve this bundle")
        for setting in fields(cls):
            default = getattr(defaults, setting.name)
            meaning = setting.metadata["help"].format(item_unit=item_unit)
            parser.add_argument(
                f"--{setting.name}",
                type=_reader(setting.default),
                default=default,
                help=f"{meaning} ({default})",
            )
        settings = cls(**vars(parser.parse_args(arguments)))
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
            value, positive = getattr(self, setting.name), setting.metadata["positive"]
            if isinstance(value, (int, float)) and (value < 0 or (positive and not value)):
                least = "more than 0" if positive else "0"
                raise ValueError(f"{setting.name} is {value}; give {least}")


def _reader(default: Any) -> Callable[[str], Any]:
    """What makes a setting's value of a text."""
    return _true_or_false if isinstance(default, bool) else type(default)


def _true_or_false(text: str) -> bool:
    try:
        return {"true": True, "false": False}[text.lower()]
    except KeyError:
        raise ValueError(f"{text!r} is neither true nor false") from None
