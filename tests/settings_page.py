"""Writes docs/configuration.md: every setting of every modality, from TrainingConfig itself.

`uv run python tests/settings_page.py` writes it; `test_documents.py` compares.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from answer_space import MODALITIES, overlay
from rendering import ROOT, copy_template, render

PAGE = ROOT / "docs" / "configuration.md"
HEADING = re.compile(r"^# --- (.+) ---$")

INTRODUCTION = """\
# Settings

`uv run python tests/settings_page.py` writes this page from `TrainingConfig` and `config.yaml`.

Every setting stands in a project's `config.yaml`. `--NAME VALUE` on the command line wins over
the file. "Default" is what the file of a new project holds. "Resumed" says what `train --resume`
does with another value: it refuses those that are *kept*, and *free* ones act from then on.
"""

DESCRIBE = """
import json, sys
from importlib import import_module
from pydantic import TypeAdapter
config = import_module(sys.argv[1] + ".config").TrainingConfig
schema = TypeAdapter(config).json_schema()
print(json.dumps({
    "fields": schema["properties"],
    "definitions": schema.get("$defs", {}),
    "meanings": config.descriptions(),
    "kept": config.kept_on_resume(),
}))
"""


@dataclass(frozen=True)
class Setting:
    """One setting of one modality.

    Attributes:
        section: of config.yaml.
        takes: its type, range or choices, for people.
        default: what config.yaml of a new project holds, as YAML.
        meaning: what it does, with its unit.
        resumed: what becomes of another value when a run is resumed.
    """

    section: str
    name: str
    takes: str
    default: str
    meaning: str
    resumed: str


def page(template: Path, scratch: Path) -> str:
    """The page for a template.

    Args:
        template: its folder.
        scratch: an empty folder to render projects in.
    """
    by_modality = {
        modality: settings(
            render(
                template,
                scratch / modality,
                {"modality": modality, "project_name": f"{modality} project"},
            )
        )
        for modality in MODALITIES
    }
    shared = set.intersection(*({one.name for one in found} for found in by_modality.values()))
    parts = [INTRODUCTION]
    for modality, found in by_modality.items():
        own = [{modality: one} for one in found if one.name not in shared]
        parts.append(_table(f"Input: {modality}", own))
    first, *_ = by_modality.values()
    for section in dict.fromkeys(one.section for one in first if one.name in shared):
        rows = [
            {
                modality: next(other for other in found if other.name == one.name)
                for modality, found in by_modality.items()
            }
            for one in first
            if one.section == section and one.name in shared
        ]
        parts.append(_table(section.capitalize(), rows))
    parts.append(_defaults_by_task())
    return "\n".join(parts)


def settings(project: Path) -> list[Setting]:
    """Every setting of a rendered project, in the order of its config.yaml."""
    [package] = [path.name for path in (project / "src").iterdir()]
    done = subprocess.run(
        [sys.executable, "-c", DESCRIBE, package],
        cwd=project / "src",
        capture_output=True,
        text=True,
        check=True,
    )
    known = json.loads(done.stdout)
    text = (project / "config.yaml").read_text("utf-8")
    values = yaml.safe_load(text)
    return [
        Setting(
            section,
            name,
            takes(known["fields"][name], known["definitions"]),
            _yaml(values[name]),
            _prose(known["meanings"][name]),
            "kept" if name in known["kept"] else "free",
        )
        for name, section in _sections(text).items()
    ]


def _sections(text: str) -> dict[str, str]:
    """The heading under which config.yaml lists each setting."""
    found, section = {}, ""
    for line in text.splitlines():
        if heading := HEADING.match(line):
            section = heading[1]
        elif setting := re.match(r"(\w+):", line):
            found[setting[1]] = section
    return found


# --- What a setting takes, from its JSON schema --------------------------------------------------


def takes(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """Type, range and choices in words."""
    if reference := schema.get("$ref"):
        return takes(definitions[reference.rpartition("/")[2]], definitions)
    if options := schema.get("anyOf"):
        return " or ".join(dict.fromkeys(takes(option, definitions) for option in options))
    if "enum" in schema:
        words = [c if isinstance(c, str) else json.dumps(c) for c in schema["enum"]]
        return ", ".join(f"`{word}`" for word in words)
    if "const" in schema:
        return f"`{schema['const']}`"
    match schema.get("type"):
        case "null":
            return "`null`"
        case "boolean":
            return "`true`, `false`"
        case "integer":
            return f"whole number{_range(schema)}"
        case "number":
            return f"number{_range(schema)}"
        case "array":
            return _list(schema, definitions)
        case "object":
            return _mapping(schema, definitions)
    return "text"


def _range(schema: Mapping[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {schema[key]:,.10g}" for key, sign in signs.items() if key in schema]
    return f" {', '.join(bounds)}" if bounds else ""


def _list(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    if several := schema.get("prefixItems"):
        return f"list of {len(several)}: {takes(several[0], definitions)}"
    return f"list of {takes(schema['items'], definitions)}"


def _mapping(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    if fields := schema.get("properties"):
        parts = [f"`{name}` ({takes(field, definitions)})" for name, field in fields.items()]
        return f"mapping with {', '.join(parts)}"
    values = schema.get("additionalProperties")
    return f"mapping to {takes(values, definitions)}" if isinstance(values, dict) else "mapping"


# --- Tables --------------------------------------------------------------------------------------


def _table(title: str, rows: Sequence[Mapping[str, Setting]]) -> str:
    """A table of settings, each with what it is in every modality that has it."""
    lines = [
        f"## {title}\n",
        "| setting | takes | default | meaning | resumed |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        one = next(iter(row.values()))
        takes_ = _of_each({modality: found.takes for modality, found in row.items()})
        default = _of_each({modality: f"`{found.default}`" for modality, found in row.items()})
        cells = (f"`{one.name}`", takes_, default, one.meaning, one.resumed)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _of_each(texts: Mapping[str, str]) -> str:
    """The text that all modalities have in common, or that of each."""
    first, *others = texts.values()
    if all(other == first for other in others):
        return first
    return "; ".join(f"{modality}: {text}" for modality, text in texts.items())


def _defaults_by_task() -> str:
    by_task: dict[str, dict[str, Any]] = {}
    for modality in MODALITIES:
        facts = yaml.safe_load((overlay(modality) / "_parts" / "facts.yml").read_text("utf-8"))
        by_task |= facts["settings"]
    names = list(dict.fromkeys(name for values in by_task.values() for name in values))
    lines = [
        "## Defaults by task\n",
        "Those that suit the sample set of a task; a new `config.yaml` has those of its own.\n",
        f"| task | {' | '.join(f'`{name}`' for name in names)} |",
        f"|---|{'---|' * len(names)}",
        *(
            # what only some tasks have is 0 for others
            f"| `{task}` | {' | '.join(f'`{values.get(name, 0)}`' for name in names)} |"
            for task, values in by_task.items()
        ),
    ]
    return "\n".join(lines) + "\n"


def _yaml(value: Any) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, width=1000)
    return text.removesuffix("\n").removesuffix("\n...")


def _prose(text: str) -> str:
    return " ".join(text.split())


def main() -> None:
    """Write the page."""
    with tempfile.TemporaryDirectory() as folder:
        template = copy_template(Path(folder) / "template")
        PAGE.write_text(page(template, Path(folder)), "utf-8")


if __name__ == "__main__":
    main()
