"""Who proposes new versions: the scheduled job, against a host of our own, and Renovate."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from typing import Any

import pytest
from rendering import ROOT, commit_all, copy_template, git, render, started

pytestmark = pytest.mark.integration

BRANCH = "template-update"
TOKEN = "secret-of-a-test"  # noqa: S105
HOSTS = ("github", "gitlab")


class ServedHost(ThreadingTCPServer):
    """What GitHub and GitLab answer about requests; knows nothing of branches.

    No `HTTPServer`, which looks up the name of its own address and waits where nobody answers.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.requests: list[dict[str, Any]] = []
        self.calls: list[str] = []
        self.authorizations: set[str] = set()
        self.drafts_are_supported = True
        self.fails_with = ""

    def answer(self, method: str, path: str, said: dict[str, Any]) -> tuple[int, Any]:
        """The status and content of an answer."""
        self.calls.append(f"{method} {path}")
        if "/info/refs" in path:
            return 404, {}
        if self.fails_with:
            return 500, {"message": self.fails_with}
        if path == "/graphql":
            [request] = [one for one in self.requests if one["node_id"] == said["variables"]["id"]]
            request["draft"] = "convertPullRequestToDraft" in said["query"]
            return 200, {"data": {}}
        if method == "GET":
            return 200, self.requests[::-1]
        if method == "POST":
            if said.get("draft") and not self.drafts_are_supported:
                return 422, {"message": "Draft pull requests are not supported in this repository."}
            return 201, self._opened(said)
        number = int(path.rpartition("/")[2])
        self.requests[number - 1].update(said)
        return 200, self.requests[number - 1]

    def _opened(self, said: dict[str, Any]) -> dict[str, Any]:
        number = len(self.requests) + 1
        url = f"https://host.example/{number}"
        state = "opened" if "source_branch" in said else "open"
        names = {"number": number, "iid": number, "html_url": url, "web_url": url}
        self.requests.append(
            {"draft": False, **said, **names, "state": state, "node_id": f"N{number}"}
        )
        return self.requests[-1]


class _Handler(BaseHTTPRequestHandler):
    server: ServedHost

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        said = json.loads(self.rfile.read(length)) if length else {}
        self.server.authorizations.add(self.headers.get("Authorization", ""))
        code, content = self.server.answer(self.command, self.path, said)
        body = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT = do_PATCH = do_GET  # noqa: N815  (the base class gives the names)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@dataclass
class Team:
    """A project on a host, whose CI runs the job."""

    name: str
    folder: Path
    served: ServedHost
    template: Path
    path: str = field(default_factory=lambda: os.environ["PATH"])

    @property
    def pushed(self) -> Path:
        """The project's repository on its host."""
        return self.folder / "hosted" / ("project" if self.name == "github" else "project.git")

    def environment(self) -> dict[str, str]:
        """What the host tells a job."""
        hosted = f"file://{self.folder}"
        github = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_REPOSITORY": "hosted/project",
            "GITHUB_REF_NAME": "main",
            "GITHUB_SERVER_URL": hosted,
            "GITHUB_API_URL": self.served.url,
            "GITHUB_GRAPHQL_URL": f"{self.served.url}/graphql",
        }
        gitlab = {
            "GITLAB_CI": "true",
            "CI_COMMIT_BRANCH": "main",
            "CI_PROJECT_URL": f"{hosted}/hosted/project",
            "CI_PROJECT_ID": "7",
            "CI_SERVER_HOST": "gitlab.example",
            "CI_API_V4_URL": self.served.url,
        }
        kept = {
            key: value for key, value in os.environ.items() if not key.startswith(("GITHUB_", "CI"))
        }
        mine = github if self.name == "github" else gitlab
        return {**kept, **mine, "PATH": self.path, "TEMPLATE_UPDATE_TOKEN": TOKEN}

    def clone(self, folder: Path) -> Path:
        git("clone", "--quiet", "--depth=1", f"file://{self.pushed}", str(folder), cwd=self.folder)
        return folder

    def run(self, code: int = 0, **environment: str) -> str:
        """Run the job as the CI does, in a new checkout of depth 1."""
        number = len(list(self.folder.glob("checkout*")))
        checkout = self.clone(self.folder / f"checkout{number}")
        done = subprocess.run(
            [sys.executable, ".ci/template_update.py"],
            cwd=checkout,
            env={**self.environment(), **environment},
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert done.stderr == ""
        assert TOKEN not in done.stdout
        return done.stdout

    def branch(self) -> str | None:
        """The commit of the job's branch."""
        found = git(
            "for-each-ref", "--format=%(objectname)", f"refs/heads/{BRANCH}", cwd=self.pushed
        )
        return found.strip() or None

    def shown(self, path: str) -> str:
        """A file of the job's branch."""
        return git("show", f"{BRANCH}:{path}", cwd=self.pushed)

    def commit(self, branch: str, files: dict[str, str]) -> None:
        """Commit to a branch as a colleague does."""
        number = len(list(self.folder.glob("colleague*")))
        mine = self.folder / f"colleague{number}"
        git("clone", "--quiet", "--branch", branch, str(self.pushed), str(mine), cwd=self.folder)
        for path, content in files.items():
            (mine / path).write_text(content)
        commit_all(mine, "mine")
        git("push", "--quiet", "origin", branch, cwd=mine)

    def on_path(self, name: str, script: str) -> None:
        """Put a command before all others."""
        commands = self.folder / "commands"
        commands.mkdir(exist_ok=True)
        (commands / name).write_text(script)
        (commands / name).chmod(0o755)
        self.path = f"{commands}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture
def served() -> Iterator[ServedHost]:
    with ServedHost() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


FAKE_UVX = """#!{python}
# Merges as tp35 would: `says.json` is what it prints, `files.json` what it writes.
import json, os, sys
from pathlib import Path
assert "TEMPLATE_UPDATE_TOKEN" not in os.environ
assert not any("extraHeader" in value for value in os.environ.values())
folder = Path({folder!r})
(folder / "called.json").write_text(json.dumps(sys.argv[1:]))
for path, content in json.loads((folder / "files.json").read_text()).items():
    Path(path).write_text(content)
print((folder / "says.json").read_text())
sys.exit(int((folder / "exits").read_text()))
"""


@pytest.fixture
def team(request: pytest.FixtureRequest, served: ServedHost, tmp_path: Path) -> Team:
    """A small project at v1.0.0 of a template that has v1.1.0; `updates_to` says what tp35 does."""
    template = tmp_path / "template"
    template.mkdir()
    git("init", "--quiet", cwd=template)
    for tag in ("v1.0.0", "v1.1.0", "v1.10.0rc1", "nightly"):
        commit_all(template, tag)
        git("tag", tag, cwd=template)
    team = Team(request.param, tmp_path, served, template)
    project = tmp_path / "start"
    (project / ".ci").mkdir(parents=True)
    script = ROOT / "template" / ".ci" / "template_update.py"
    (project / ".ci" / script.name).write_bytes(script.read_bytes())
    (project / ".copier-answers.yml").write_text(f"_commit: v1.0.0\n_src_path: {template}\n")
    (project / "config.yaml").write_text("epochs: 1\n")
    git("init", "--quiet", cwd=project)
    commit_all(project, "start")
    git("clone", "--quiet", "--bare", str(project), str(team.pushed), cwd=tmp_path)
    team.on_path("uvx", FAKE_UVX.format(python=sys.executable, folder=str(tmp_path)))
    updates_to(team, {"config.yaml": "epochs: 2\n"})
    return team


def updates_to(
    team: Team,
    files: dict[str, str],
    version: str = "v1.1.0",
    conflicts: tuple[tuple[str, int | None], ...] = (),
) -> None:
    """What the next `tp35 update` writes and says."""
    fate = "conflict" if conflicts else "merged"
    said = {
        "version_from": "v1.0.0",
        "version_to": version,
        "remarks": ["the tag was moved"],
        "files": [
            {"path": "config.yaml", "fate": fate, "note": "a | b"},
            {"path": "LICENSE", "fate": "unchanged", "note": ""},
        ],
        "conflicts": [{"path": path, "line": line} for path, line in conflicts],
        "changelog": f"## [{version.lstrip('v')}]\n\n- Two epochs are enough.\n",
    }
    answers = f"_commit: {version}\n_src_path: {team.template}\n"
    (team.folder / "files.json").write_text(json.dumps({".copier-answers.yml": answers, **files}))
    (team.folder / "says.json").write_text(json.dumps(said))
    (team.folder / "exits").write_text(str(int(bool(conflicts))))


on_both_hosts = pytest.mark.parametrize("team", HOSTS, indirect=True)


def is_draft(request: dict[str, Any]) -> bool:
    return bool(request["draft"]) or request["title"].startswith("Draft: ")


def text_of(request: dict[str, Any]) -> str:
    return str(request.get("body") or request.get("description"))


@on_both_hosts
def test_a_new_version_becomes_a_branch_and_a_request(team: Team) -> None:
    assert team.run() == "opened https://host.example/1: Update the template to v1.1.0\n"
    called = json.loads((team.folder / "called.json").read_text())
    source = f"git+file://{team.template}@v1.1.0"
    assert called == ["--from", source, "tp35", "update", "--json"]
    assert team.shown("config.yaml") == "epochs: 2\n"
    main = git("rev-parse", "main", cwd=team.pushed)
    assert git("rev-parse", f"{BRANCH}^", cwd=team.pushed) == main
    [request] = team.served.requests
    assert not is_draft(request)
    assert "| `config.yaml` | merged | a \\| b |" in text_of(request)
    assert "LICENSE" not in text_of(request)
    assert "\n- the tag was moved\n" in text_of(request)
    assert "- Two epochs are enough." in text_of(request)
    assert team.served.authorizations == {f"Bearer {TOKEN}"}


@on_both_hosts
def test_without_a_newer_version_nothing_is_pushed(team: Team) -> None:
    git("tag", "--delete", "v1.1.0", cwd=team.template)
    assert team.run() == "there is no newer version of the template than v1.0.0\n"
    assert (team.branch(), team.served.calls) == (None, [])
    assert not (team.folder / "called.json").exists()


@pytest.mark.parametrize("team", ["github"], indirect=True)
@pytest.mark.parametrize("version", ["v1.2.0rc1", "v1.2.0-3-g0123abc"])
def test_a_version_past_the_newest_release_stays(team: Team, version: str) -> None:
    answers = f"_commit: {version}\n_src_path: {team.template}\n"
    team.commit("main", {".copier-answers.yml": answers})
    assert team.run() == f"there is no newer version of the template than {version}\n"


@on_both_hosts
def test_an_update_that_changes_nothing_is_not_pushed(team: Team) -> None:
    updates_to(team, {}, version="v1.0.0")
    assert team.run() == "the template has nothing new for this project\n"
    assert (team.branch(), team.served.calls) == (None, [])


@on_both_hosts
def test_conflicts_make_a_draft_until_they_are_gone(team: Team) -> None:
    markers = "\n".join(
        ["<" * 7 + " before updating", "a", "=" * 7, "b", ">" * 7 + " after updating"]
    )
    updates_to(team, {"config.yaml": markers}, conflicts=(("config.yaml", 1), ("gone.py", None)))
    said = team.run()
    assert said.endswith("Update the template to v1.1.0 (with conflicts)\n")
    assert team.shown("config.yaml") == markers
    [request] = team.served.requests
    assert is_draft(request)
    assert "- `config.yaml:1`\n- `gone.py`\n" in text_of(request)
    updates_to(team, {"config.yaml": "epochs: 3\n"})
    assert team.run().startswith("renewed https://host.example/1: ")
    [request] = team.served.requests
    assert not is_draft(request)
    assert "conflict" not in text_of(request).lower()
    updates_to(team, {"config.yaml": markers}, conflicts=(("config.yaml", 1),))
    team.run()
    assert is_draft(team.served.requests[0])


@on_both_hosts
def test_a_second_run_opens_no_second_request(team: Team) -> None:
    team.run()
    pushed = team.branch()
    assert team.run() == "https://host.example/1 has this update and is open\n"
    assert team.branch() == pushed
    # main has moved on: the same update on top of it
    team.commit("main", {"mine.py": "1\n"})
    assert team.run() == "renewed https://host.example/1: Update the template to v1.1.0\n"
    assert team.branch() != pushed
    assert team.shown("mine.py") == "1\n"
    assert team.shown("config.yaml") == "epochs: 2\n"
    assert len(team.served.requests) == 1


@on_both_hosts
@pytest.mark.parametrize("how", ["added", "amended"])
def test_work_on_the_branch_is_left_alone(team: Team, how: str) -> None:
    team.run()
    if how == "added":
        team.commit(BRANCH, {"config.yaml": "epochs: 7\n"})
    else:
        mine = team.folder / "mine"
        git("clone", "--quiet", "--branch", BRANCH, str(team.pushed), str(mine), cwd=team.folder)
        (mine / "config.yaml").write_text("epochs: 7\n")
        git("commit", "--quiet", "--all", "--amend", "--no-edit", cwd=mine)
        git("push", "--quiet", "--force", "origin", BRANCH, cwd=mine)
    pushed = team.branch()
    team.commit("main", {"mine.py": "1\n"})
    updates_to(team, {"config.yaml": "epochs: 3\n"})
    assert "has commits of somebody else's and is left as it is" in team.run()
    assert team.branch() == pushed
    assert team.shown("config.yaml") == "epochs: 7\n"


@on_both_hosts
def test_a_closed_request_waits_for_the_next_version(team: Team) -> None:
    team.run()
    team.served.requests[0]["state"] = "closed"
    assert team.run() == "https://host.example/1 has this update and is closed\n"
    commit_all(team.template, "next")
    git("tag", "v1.2.0", cwd=team.template)
    updates_to(team, {"config.yaml": "epochs: 4\n"}, version="v1.2.0")
    assert team.run() == "opened https://host.example/2: Update the template to v1.2.0\n"


@on_both_hosts
def test_a_request_that_could_not_be_opened_is_opened_by_the_next_run(team: Team) -> None:
    team.served.fails_with = f"no rights for Bearer {TOKEN}"
    said = team.run(code=1)
    assert "500" in said
    assert "no rights for Bearer ***" in said
    team.served.fails_with = ""
    assert team.run().startswith("opened https://host.example/1: ")


@on_both_hosts
def test_what_tp35_refuses_ends_the_job(team: Team) -> None:
    team.on_path("uvx", "#!/bin/sh\necho tp35: the project has uncommitted changes >&2\nexit 1\n")
    assert team.run(code=1) == "error: tp35 update: tp35: the project has uncommitted changes\n"
    assert team.branch() is None


@pytest.mark.parametrize("team", ["github"], indirect=True)
def test_without_uv_it_says_so(team: Team) -> None:
    only_git = team.folder / "only-git"
    only_git.mkdir()
    (only_git / "git").symlink_to(str(shutil.which("git")))
    team.path = str(only_git)
    assert team.run(code=1) == (
        "error: uvx, which runs tp35, is not installed; install uv before this\n"
    )


@pytest.mark.parametrize("team", ["github"], indirect=True)
def test_where_drafts_are_not_supported_the_title_says_it(team: Team) -> None:
    team.served.drafts_are_supported = False
    updates_to(team, {"config.yaml": "x\n"}, conflicts=(("config.yaml", 1),))
    team.run()
    [request] = team.served.requests
    assert request["title"] == "Update the template to v1.1.0 (with conflicts)"


@pytest.mark.parametrize("team", ["github"], indirect=True)
def test_a_push_that_is_refused_says_what_to_do(team: Team) -> None:
    hook = team.pushed / "hooks" / "update"
    hook.write_text(
        "#!/bin/sh\necho refusing to allow a GitHub App to create or update workflow "
        "without workflows permission >&2\nexit 1\n"
    )
    hook.chmod(0o755)
    said = team.run(code=1)
    assert "refusing to allow" in said
    assert "save it as the secret TEMPLATE_UPDATE_TOKEN" in said
    assert team.served.requests == []


@on_both_hosts
def test_git_gets_the_token_in_no_address_and_says_it_nowhere(team: Team) -> None:
    """The repository is asked over HTTP here, where there is none."""
    over_http = {"GITHUB_SERVER_URL": team.served.url, "CI_PROJECT_URL": f"{team.served.url}/p"}
    said = team.run(code=1, GIT_CURL_VERBOSE="1", **over_http)
    assert "git ls-remote: " in said
    [sent] = team.served.authorizations
    assert sent.startswith("Basic ")
    assert sent.removeprefix("Basic ") not in said
    assert not any(TOKEN in call for call in team.served.calls)


@pytest.mark.parametrize("team", ["github"], indirect=True)
def test_without_a_token_or_a_host_it_says_so(team: Team) -> None:
    assert "TEMPLATE_UPDATE_TOKEN is not set" in team.run(code=1, TEMPLATE_UPDATE_TOKEN="")
    assert "runs in GitHub Actions and GitLab CI only" in team.run(code=1, GITHUB_ACTIONS="")


@pytest.mark.parametrize("team", ["github"], indirect=True)
@pytest.mark.parametrize(
    ("location", "address", "source"),
    [
        ("gh:a/tp35", "https://github.com/a/tp35.git", "git+https://github.com/a/tp35.git"),
        (
            "'git+https://host.example/tp35'",
            "https://host.example/tp35",
            "git+https://host.example/tp35",
        ),
        (
            "git@host.example:a/tp35.git",
            "git@host.example:a/tp35.git",
            "git+ssh://git@host.example/a/tp35.git",
        ),
        ("tp35", "not-asked:", ""),
    ],
)
def test_tp35_comes_from_where_the_template_is(
    team: Team, location: str, address: str, source: str
) -> None:
    """Git is told to find no tags at these addresses: nothing outside this machine is asked."""
    team.commit("main", {".copier-answers.yml": f"_commit: v1.0.0\n_src_path: {location}\n"})
    empty = team.folder / "empty.git"
    git("init", "--quiet", "--bare", str(empty), cwd=team.folder)
    replaced = f"url.file://{empty}.insteadOf"
    setting: dict[str, Any] = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": replaced,
        "GIT_CONFIG_VALUE_0": address,
    }
    team.run(0, **setting)
    tp35 = ["--from", source, "tp35"] if source else ["tp35@latest"]
    assert json.loads((team.folder / "called.json").read_text()) == [*tp35, "update", "--json"]


# --- with tp35 itself -----------------------------------------------------------------------------


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """The working tree's template, released as v1.0.0."""
    folder = started(copy_template(tmp_path / "tp35"))
    git("tag", "v1.0.0", cwd=folder)
    return folder


def release(template: Path) -> None:
    """Let v1.1.0 change one file."""
    text = template / "template" / "LICENSE.jinja"
    changed = text.read_text("utf-8").replace("MIT License\n", "MIT License, the template's\n", 1)
    text.write_text(changed, "utf-8")
    commit_all(template)
    git("tag", "v1.1.0", cwd=template)


@pytest.mark.parametrize("name", ["github", pytest.param("gitlab", marks=pytest.mark.slow)])
def test_a_real_update_at_depth_one(
    name: str, served: ServedHost, template: Path, tmp_path: Path
) -> None:
    team = Team(name, tmp_path, served, template)
    answers = {"ci": name, "template_updates": "scheduled"}
    project = started(render(template, tmp_path / "start", answers))
    git("clone", "--quiet", "--bare", str(project), str(team.pushed), cwd=tmp_path)
    release(template)
    # uv would install tp35 from the template's repository; here it is this checkout's
    team.on_path("uvx", f'#!/bin/sh\nshift 3\nexec {sys.executable} -m tp35 "$@"\n')

    team.commit("main", {"mine.py": "mine = 1\n"})
    assert team.run() == "opened https://host.example/1: Update the template to v1.1.0\n"
    assert team.shown("LICENSE").startswith("MIT License, the template's\n")
    assert "| `LICENSE` | updated |" in text_of(served.requests[0])
    changed = git("diff", "--name-only", "main", BRANCH, cwd=team.pushed).split()
    assert changed == [".copier-answers.yml", "LICENSE"]

    team.commit("main", {"LICENSE": "MIT License, mine\n"})
    assert (
        team.run()
        == "renewed https://host.example/1: Update the template to v1.1.0 (with conflicts)\n"
    )
    assert "<" * 7 + " before updating\n" in team.shown("LICENSE")
    assert is_draft(served.requests[0])
    assert "- `LICENSE:1`" in text_of(served.requests[0])
    git(
        "clone",
        "--quiet",
        "--depth=1",
        "--branch",
        BRANCH,
        f"file://{team.pushed}",
        "ci",
        cwd=tmp_path,
    )
    markers = [sys.executable, ".ci/conflict_markers.py"]
    found = subprocess.run(markers, cwd=tmp_path / "ci", capture_output=True, text=True)
    assert found.returncode == 1
    assert "LICENSE:1: " in found.stdout


# --- Renovate -------------------------------------------------------------------------------------

# What its manager `copier` runs beside the answers file (lib/modules/manager/copier/artifacts.ts).
RENOVATES_COMMAND = (
    "copier update --skip-answered --defaults --answers-file .copier-answers.yml --vcs-ref v1.1.0"
)


def test_renovates_command_and_the_note_on_its_request(template: Path, tmp_path: Path) -> None:
    project = render(template, tmp_path / "project", {"template_updates": "renovate"})
    gone = "src/my_project/architecture.py"
    for edited in ("config.yaml", gone):
        with (project / edited).open("a", encoding="utf-8") as file:
            file.write("# mine\n")
    started(project)
    (template / "template" / "src" / "{{package_name}}" / "architecture.py").unlink()
    release(template)
    here = tmp_path / "here"
    git("clone", "--quiet", "--depth=1", f"file://{project}", str(here), cwd=tmp_path)
    command = [sys.executable, "-m", *shlex.split(RENOVATES_COMMAND)]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    changed = set(git("diff", "--name-only", cwd=here).split())
    assert changed == {".copier-answers.yml", "LICENSE", gone}
    assert "_commit: v1.1.0\n" in (here / ".copier-answers.yml").read_text("utf-8")
    assert (here / "config.yaml").read_text("utf-8").endswith("# mine\n")

    commit_all(here, "Update the template")
    renovate = json.loads((here / "renovate.json").read_text("utf-8"))
    [note] = renovate["copier"]["prBodyNotes"]
    [line] = re.findall(r"`uvx --from \S+ tp35 (status [^`]+)`", note)
    asked = shlex.split(line.replace("{{{baseBranch}}}", "main"))
    told = subprocess.run(
        [sys.executable, "-m", "tp35", *asked], cwd=here, capture_output=True, text=True
    )
    assert told.returncode == 1, told.stderr
    assert gone in told.stdout


@pytest.mark.slow
def test_renovate_takes_its_configuration(tmp_path: Path) -> None:
    shutil.copy2(ROOT / "template" / "renovate.json", tmp_path)
    npx = ["npx", "--yes", "--package", "renovate@44", "--"]
    if not shutil.which("npx") or subprocess.run([*npx, "true"], capture_output=True).returncode:
        pytest.skip("Renovate cannot be had from npm here")
    done = subprocess.run(
        [*npx, "renovate-config-validator", "--strict"],
        cwd=tmp_path,
        env={**os.environ, "LOG_FORMAT": "json"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Config validated successfully" in done.stdout
