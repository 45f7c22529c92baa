"""What may stand on the command line: commands, their options, and help that people can read."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shlex
import shutil
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from rich.console import Console

from .config import (
    FIRST_SECTION,
    RENAMED,
    SECTIONS,
    SYNONYMS,
    LoraSettings,
    TrainingConfig,
    nearest,
    read_mapping,
    read_value,
)
from .config_base import type_hints
from .errors import ConfigError
from .identity import Project

CONFIG_FILE = "config.yaml"
TEXTS = (str, str | None)
SETTINGS = tuple(TrainingConfig.names())

# options that every command has
EVERYWHERE = {
    "help": "this, with the settings that are given most often",
    "help-all": "this, with every setting",
    "quiet": "print results, warnings and errors only",
    "debug": "print the traceback of an error, too",
}
FLAGS = ("quiet", "debug")


@dataclass(frozen=True)
class Command:
    """A command of the command line.

    Attributes:
        summary: what it does, in a line.
        run: does it, with the options that were given, by name.
        example: what may stand behind the program's name.
        usual: settings that its short help shows.
        takes: all settings that it follows; those of a run that has been are the run's own.
        add_options: adds what it takes besides settings.
    """

    summary: str
    run: Callable[[dict[str, Any], Console], None]
    example: str
    usual: tuple[str, ...]
    takes: tuple[str, ...] = SETTINGS
    add_options: Callable[[argparse._ActionsContainer], None] = lambda options: None


@dataclass(frozen=True)
class Given:
    """What the command line says.

    Attributes:
        command: name of the command; None where help or the version was all that was asked for.
        options: of the command, settings among them as they are in a configuration file.
        quiet, debug: whether those were given.
    """

    command: str | None
    options: dict[str, Any]
    quiet: bool = False
    debug: bool = False


def parse(arguments: Sequence[str], commands: Mapping[str, Command], program: str) -> Given:
    """Read the command line; where it asks for help, print that.

    Raises:
        ConfigError: one line for each option or value that is none.
    """
    words = list(arguments)
    if "_ARGCOMPLETE" in os.environ:
        complete(commands, program)
    before = [word for word in words if word.removeprefix("--") in FLAGS and word.startswith("--")]
    name = next((word for word in words if word not in before), None)
    if name in (None, "-h", "--help", "--help-all", "help"):
        print(_overview(commands, program))
        return Given(None, {})
    if name == "--version":
        print(f"{program} {_version()}")
        return Given(None, {})
    if name not in commands:
        raise ConfigError([_no_command(str(name), commands)])
    words.remove(name)
    command = commands[name]
    if asked := {"-h", "--help", "--help-all"} & set(words):
        everything = "--help-all" in asked
        print(_parser(name, command, program, everything=everything).format_help(), end="")
        return Given(None, {})
    parser = _parser(name, command, program, everything=True)
    found = vars(_parse(parser, name, command, [part for word in words for part in _apart(word)]))
    quiet, debug = found.pop("quiet", False), found.pop("debug", False)
    return Given(name, _read_values(found, command.takes), quiet, debug)


def _no_command(name: str, commands: Iterable[str]) -> str:
    known = ", ".join(commands)
    if name.startswith("-"):
        return f"{name}: no such option here; settings stand behind a command: {known}"
    return f"{name}: no such command; there are {known}{nearest(name, list(commands))}"


# --- Values --------------------------------------------------------------------------------------


def _read_values(given: dict[str, Any], settings: Iterable[str]) -> dict[str, Any]:
    """Settings as a configuration file would hold them, from the words that were typed.

    Args:
        given: options by name; changed in place.
        settings: which of them are settings.

    Raises:
        ConfigError: one line for each that is none.
    """
    hints, problems = type_hints(TrainingConfig), []
    for name in given.keys() & set(settings):
        try:
            given[name] = _read(hints[name], given[name])
        except ValueError as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise ConfigError(sorted(problems))
    return given


def _read(hint: Any, typed: str | list[str]) -> Any:
    """A value as people type it in any shell: texts as they are, others as YAML.

    Several values may stand in several words or between commas, with brackets or without; what has
    names, as `a=1,b=2`, `a:1` or YAML.
    """
    words = [typed] if isinstance(typed, str) else typed
    text = " ".join(words)
    if hint in TEXTS:
        return None if hint is not str and text == "null" else text
    if not _takes_several(hint) or text.startswith(("[", "{")):
        return read_value(text)
    parts = [part.strip() for word in words for part in BETWEEN.split(word) if part.strip()]
    if _takes_names(hint) and all(NAMED.match(part) for part in parts):
        pairs = (re.split(r"\s*[=:]\s*", part, maxsplit=1) for part in parts)
        return {key: read_value(value) for key, value in pairs}
    if _takes_texts(hint):
        return parts if len(parts) > 1 else None if text == "null" else text
    return [read_value(part) for part in parts] if len(parts) > 1 else read_value(text)


# commas that are not between brackets
BETWEEN = re.compile(r",(?![^\[{]*[\]}])")
NAMED = re.compile(r"[^\s=:]+\s*[=:]")


def _kinds(hint: Any) -> list[Any]:
    """The types that a hint allows, without marks and without None."""
    if get_origin(hint) is Annotated:
        return _kinds(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        return [kind for part in get_args(hint) for kind in _kinds(part)]
    return [] if hint is type(None) else [hint]


def _takes_several(hint: Any) -> bool:
    return any(get_origin(kind) in (list, tuple, dict) for kind in _kinds(hint)) or (
        _takes_names(hint)
    )


def _takes_texts(hint: Any) -> bool:
    """Whether it is a list of names, which are not read as numbers."""
    return any(
        get_origin(kind) is list
        and all(part is str or get_origin(part) is Literal for part in get_args(kind))
        for kind in _kinds(hint)
    )


def _takes_names(hint: Any) -> bool:
    return any(get_origin(kind) is dict or kind is LoraSettings for kind in _kinds(hint))


# --- Options -------------------------------------------------------------------------------------


class _Refused(Exception):
    """Words that the parser does not take; the message is its own."""


class _Parser(argparse.ArgumentParser):
    """Lets whoever calls say what is wrong; argparse would print its usage and end the program."""

    def error(self, message: str) -> Any:
        raise _Refused(message)


class _Help(argparse.HelpFormatter):
    """Shows once what an option takes, also where it takes several."""

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        return str(action.metavar or default_metavar)


def _parser(name: str, command: Command, program: str, *, everything: bool) -> _Parser:
    width = min(100, shutil.get_terminal_size().columns - 2)
    parser = _Parser(
        prog=program,
        usage=f"{program} {name} {_usage(command)}",
        description=f"{command.summary[0].upper()}{command.summary[1:]}.",
        epilog=f"example: {program} {command.example}",
        add_help=False,
        allow_abbrev=False,
        formatter_class=lambda prog: _Help(prog, 2, 34, width),
    )
    options = parser.add_argument_group("options")
    command.add_options(options)
    if command.takes:
        options.add_argument(
            "--config", metavar="FILE", help=f"settings to read (default: {CONFIG_FILE})"
        )
    for flag, meaning in EVERYWHERE.items():
        options.add_argument(
            f"--{flag}", action="store_true", default=argparse.SUPPRESS, help=meaning
        )
    _add_settings(parser, command, everything=everything)
    return parser


def _usage(command: Command) -> str:
    parser = _Parser(add_help=False)
    command.add_options(parser)
    words = [str(action.metavar) for action in parser._actions if not action.option_strings]
    return " ".join([*words, "[options]", *(["[--SETTING VALUE ...]"] if command.takes else [])])


def _add_settings(parser: _Parser, command: Command, *, everything: bool) -> None:
    hints, in_force = type_hints(TrainingConfig), _values_in_force()
    title, group = FIRST_SECTION, None
    for name, meaning in TrainingConfig.descriptions().items():
        if name in SECTIONS:
            title, group = SECTIONS[name], None
        if name not in command.takes or not (everything or name in command.usual):
            continue
        group = group or parser.add_argument_group(f"settings, {title}")
        shown = meaning if everything else meaning.partition("\n\n")[0]
        group.add_argument(
            f"--{name}",
            nargs="+" if _takes_several(hints[name]) else None,
            default=argparse.SUPPRESS,
            metavar=kind_of(hints[name]),
            help=f"{' '.join(shown.split())} [{in_force[name]}]".replace("%", "%%"),
        )


def kind_of(hint: Any) -> str:
    """What a setting takes, in a word: its choices, or a name for its type."""
    words: list[str] = []
    for kind in _kinds(hint):
        match get_origin(kind) or kind:
            case origin if origin is Literal:
                words += [c if isinstance(c, str) else str(c).lower() for c in get_args(kind)]
            case origin if origin in (list, tuple):
                parts = [part for part in get_args(kind) if part is not Ellipsis]
                inner = list(dict.fromkeys(kind_of(part) for part in parts))
                fixed = origin is tuple and Ellipsis not in get_args(kind)
                words.append(",".join(inner * len(parts) if fixed else [*inner, "..."]))
            case origin if origin is dict or origin is LoraSettings:
                words.append("NAME=VALUE,...")
            case origin:
                words.append({int: "N", float: "X", bool: "true|false"}.get(origin, "TEXT"))
    return "|".join(dict.fromkeys(words))


def _values_in_force() -> dict[str, str]:
    """Of every setting, as it would be typed: the configuration file's where that can be read."""
    values = TrainingConfig.defaults()
    with contextlib.suppress(ConfigError):  # help is for those, too, whose file is to be mended
        values |= read_mapping(CONFIG_FILE)
    return {name: typed(value) for name, value in values.items()}


def typed(value: Any) -> str:
    """A value as it is typed on the command line."""
    if isinstance(value, list | tuple):
        return ",".join(map(typed, value)) or "[]"
    if isinstance(value, Mapping):
        return ",".join(f"{key}={typed(one)}" for key, one in value.items()) or "{}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def complete(commands: Mapping[str, Command], program: str) -> None:
    """Answer a shell that asks how a command line may go on, and end the program."""
    from argcomplete import autocomplete
    from argcomplete.completers import ChoicesCompleter

    parser = argparse.ArgumentParser(program, add_help=False)
    choices = parser.add_subparsers()
    for name, command in commands.items():
        options = _parser(name, command, program, everything=True)
        for action in options._actions:
            if action.dest in SETTINGS and (known := _choices(str(action.metavar))):
                completer = ChoicesCompleter(dict.fromkeys(known, ""))
                action.completer = completer  # type: ignore[attr-defined]
        choices.add_parser(name, parents=[options], add_help=False)
    autocomplete(parser)


def _choices(kind: str) -> list[str]:
    words = kind.removesuffix(",...").split("|")
    return [word for word in words if word not in ("N", "X", "TEXT", "NAME=VALUE")]


# --- What cannot be parsed -----------------------------------------------------------------------


def _parse(
    parser: _Parser, name: str, command: Command, words: Sequence[str]
) -> argparse.Namespace:
    try:
        return parser.parse_args(words)
    except _Refused as refused:
        known = [
            option.removeprefix("--")
            for action in parser._actions
            for option in action.option_strings
        ]
        problems = [
            _no_option(option, name, command, known)
            for word in words
            if word.startswith("--") and (option := word[2:].partition("=")[0]) not in known
        ]
        problems += _cut_by_the_shell(words)
        raise ConfigError(problems or [_readable(str(refused))]) from refused


def _apart(word: str) -> list[str]:
    """`--name=value` as two words for what takes several, of which more may follow."""
    name, is_given, value = word.partition("=")
    hint = type_hints(TrainingConfig).get(name.removeprefix("--"))
    is_several = is_given and hint is not None and _takes_several(hint)
    return [name, value] if is_several and value and not value.startswith("-") else [word]


def _no_option(option: str, name: str, command: Command, known: list[str]) -> str:
    if option in SETTINGS:
        return f"--{option}: {name} goes by the run's own; it is a setting of `train`"
    plain = option.replace("-", "_")
    meant = (RENAMED | SYNONYMS).get(plain, plain)
    hint = f"; did you mean --{meant}?" if meant in known else nearest(option, known, "--")
    return f"--{option}: no such option{hint}"


def _readable(message: str) -> str:
    """What argparse says, and what helps where a value looks like an option."""
    message = " ".join(message.split()).removeprefix("argument ")
    if found := re.search(r": invalid choice: '(.*)' \(choose from (.*)\)", message):
        known = [word.strip("'") for word in found[2].split(", ")]
        return f"{found[1]}: give one of {', '.join(known)}{nearest(found[1], known)}"
    if message.endswith(("expected one argument", "expected at least one argument")):
        option = message.partition(":")[0]
        return f"{option}: a value is missing; one that begins with - needs {option}=VALUE"
    return message


def _cut_by_the_shell(words: Sequence[str]) -> list[str]:
    """A line for each setting of one value that got several words, as a text without quotes."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    hints = type_hints(TrainingConfig)
    for word in words:
        if word.startswith("--"):
            name, is_given, value = word[2:].partition("=")
            current = found[name] = [value] if is_given else []
        else:
            current.append(word)
    return [
        f"--{name}: takes one value and got {len(got)} words; put it into quotes: --{name} "
        f"{shlex.quote(' '.join(got))}"
        for name, got in found.items()
        if name in hints and len(got) > 1 and not _takes_several(hints[name])
    ]


# --- Overview ------------------------------------------------------------------------------------


def _overview(commands: Mapping[str, Command], program: str) -> str:
    width = max(map(len, commands))
    lines = [f"  {name:{width}}  {command.summary}" for name, command in commands.items()]
    return "\n".join(
        [
            f"usage: {program} COMMAND [options]",
            "",
            *lines,
            "",
            f"{program} COMMAND --help shows its options, --help-all every setting;",
            f"{program} --version says which version this is.",
        ]
    )


def program_name(called: str) -> str:
    """What people call: the console command, or the package where it runs as a module."""
    name = Path(called).name
    return (__package__ or "") if name == "__main__.py" else name


def _version() -> str:
    """Of the distribution that this package was installed with."""
    try:
        return version(Project.own().slug)
    except PackageNotFoundError:
        return "(not installed)"
