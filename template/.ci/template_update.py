"""Proposes the newest version of the template as a pull request or merge request.

The CI runs this on a schedule, in a checkout of the branch to update, of any depth. `tp35 update`
merges; what comes out is one commit on the branch `template-update`, which later runs replace. A
branch with a commit of somebody else's is left as it is, and so is a request that was closed until
there is another version. Conflicts are committed with their markers, in a draft.

The environment gives TEMPLATE_UPDATE_TOKEN, and what each host says of itself.
"""

import base64
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

BRANCH = "template-update"
TRAILER = "Template-Update-Tree"  # tells an own commit, unchanged, from everybody else's
LONGEST = 60_000  # characters of a request's text; GitHub takes 65,536
Environment = dict[str, str]


class Failure(Exception):
    """What ends the job: one message, and what to do."""


# --- the hosts ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    """A pull request or merge request from our branch."""

    number: int
    title: str
    url: str
    is_open: bool
    is_draft: bool
    node: str = ""  # GitHub's other name for it


class Host(Protocol):
    """Where the project lives."""

    base: str  # the branch to update
    remote: str  # address of the repository, without credentials
    login: str  # the user name that goes with the token
    author: tuple[str, str]

    def requests(self) -> list[Request]:
        """Requests from our branch into the base, the newest first."""
        ...

    def open(self, title: str, text: str, *, draft: bool) -> str:
        """Open a request; gives its address."""
        ...

    def renew(self, request: Request, title: str, text: str, *, draft: bool) -> None:
        """Change what an open request says."""
        ...


@dataclass(frozen=True)
class Api:
    """A JSON interface over HTTP."""

    root: str
    token: str

    def call(self, method: str, path: str, content: dict[str, Any] | None = None) -> Any:
        """The answer, decoded; raises `Failure` with what the host says."""
        data = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(f"{self.root}{path}", data, method=method)
        request.add_header("Content-Type", "application/json")
        # a redirection elsewhere does not get the token
        request.add_unredirected_header("Authorization", f"Bearer {self.token}")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            said = error.read().decode("utf-8", "replace")
            raise Failure(f"{method} {path}: {error.code} {error.reason}: {said}") from error
        except (OSError, ValueError) as error:
            raise Failure(f"{method} {self.root}{path}: {error}") from error


class GitHub:
    """GitHub, or an Enterprise server."""

    author = ("github-actions[bot]", "41898282+github-actions[bot]@users.noreply.github.com")
    login = "x-access-token"

    def __init__(self, environment: Environment, token: str) -> None:
        repository = environment["GITHUB_REPOSITORY"]
        self.base = environment["GITHUB_REF_NAME"]
        self.remote = f"{environment['GITHUB_SERVER_URL']}/{repository}"
        self.owner = repository.partition("/")[0]
        self.pulls = f"/repos/{repository}/pulls"
        self.rest = Api(environment["GITHUB_API_URL"], token)
        self.graphql = Api(environment["GITHUB_GRAPHQL_URL"], token)

    def requests(self) -> list[Request]:
        """Requests from our branch into the base, the newest first."""
        asked = {"head": f"{self.owner}:{BRANCH}", "base": self.base, "state": "all"}
        found = self.rest.call("GET", f"{self.pulls}?{urllib.parse.urlencode(asked)}")
        return [
            Request(
                one["number"],
                one["title"],
                one["html_url"],
                is_open=one["state"] == "open",
                is_draft=one["draft"],
                node=one["node_id"],
            )
            for one in found
        ]

    def open(self, title: str, text: str, *, draft: bool) -> str:
        """Open a request; gives its address."""
        content = {"title": title, "body": text, "head": BRANCH, "base": self.base, "draft": draft}
        try:
            made = self.rest.call("POST", self.pulls, content)
        except Failure as failure:
            # repositories of some plans have none; the title says it, too
            if not draft or "Draft pull requests are not supported" not in str(failure):
                raise
            made = self.rest.call("POST", self.pulls, {**content, "draft": False})
        return str(made["html_url"])

    def renew(self, request: Request, title: str, text: str, *, draft: bool) -> None:
        """Change what an open request says."""
        self.rest.call("PATCH", f"{self.pulls}/{request.number}", {"title": title, "body": text})
        if request.is_draft != draft:
            change = "convertPullRequestToDraft" if draft else "markPullRequestReadyForReview"
            query = (
                "mutation($id: ID!) { "
                + change
                + "(input: {pullRequestId: $id}) { clientMutationId } }"
            )
            # where drafts are not supported the answer says so and changes nothing
            content = {"query": query, "variables": {"id": request.node}}
            self.graphql.call("POST", "", content)


class GitLab:
    """gitlab.com or another instance."""

    login = "oauth2"

    def __init__(self, environment: Environment, token: str) -> None:
        self.base = environment["CI_COMMIT_BRANCH"]
        self.remote = f"{environment['CI_PROJECT_URL']}.git"
        self.author = ("template-update", f"template-update@{environment['CI_SERVER_HOST']}")
        self.merges = f"/projects/{environment['CI_PROJECT_ID']}/merge_requests"
        self.rest = Api(environment["CI_API_V4_URL"], token)

    def requests(self) -> list[Request]:
        """Requests from our branch into the base, the newest first."""
        asked = {"source_branch": BRANCH, "target_branch": self.base}
        found = self.rest.call("GET", f"{self.merges}?{urllib.parse.urlencode(asked)}")
        return [
            Request(
                one["iid"],
                one["title"].removeprefix("Draft: "),
                one["web_url"],
                is_open=one["state"] == "opened",
                is_draft=one["title"].startswith("Draft: "),
            )
            for one in found
        ]

    def open(self, title: str, text: str, *, draft: bool) -> str:
        """Open a request; gives its address."""
        content = {
            **self._content(title, text, draft),
            "source_branch": BRANCH,
            "target_branch": self.base,
            "remove_source_branch": True,
        }
        return str(self.rest.call("POST", self.merges, content)["web_url"])

    def renew(self, request: Request, title: str, text: str, *, draft: bool) -> None:
        """Change what an open request says."""
        content = self._content(title, text, draft)
        self.rest.call("PUT", f"{self.merges}/{request.number}", content)

    def _content(self, title: str, text: str, draft: bool) -> dict[str, Any]:
        return {"title": f"Draft: {title}" if draft else title, "description": text}


def host_of(environment: Environment, token: str) -> Host:
    """The host that runs this job."""
    if environment.get("GITHUB_ACTIONS"):
        return GitHub(environment, token)
    if environment.get("GITLAB_CI"):
        return GitLab(environment, token)
    raise Failure("this runs in GitHub Actions and GitLab CI only; here: tp35 update")


# --- Git ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Repository:
    """The checkout, and the same repository on its host."""

    remote: str
    environment: Environment  # with credentials for the remote, and an author

    def git(self, *arguments: str) -> str:
        """What Git prints; raises `Failure` with its explanation."""
        done = subprocess.run(
            ["git", *arguments], env=self.environment, capture_output=True, text=True
        )
        if done.returncode:
            raise Failure(f"git {arguments[0]}: {done.stderr.strip()}")
        return done.stdout.strip()

    def branch(self) -> str:
        """The commit of our branch on the host; empty where there is none."""
        return self.git("ls-remote", self.remote, f"refs/heads/{BRANCH}").partition("\t")[0]

    def is_own(self, commit: str) -> bool:
        """Whether that commit is one of this job, and nobody has changed it."""
        self.git("fetch", "--quiet", "--no-tags", "--depth=1", self.remote, f"refs/heads/{BRANCH}")
        return f"{TRAILER}: {self.tree(commit)}" in self.git("cat-file", "commit", commit)

    def tree(self, commit: str) -> str:
        """The name of all the files of a commit."""
        return self.git("rev-parse", f"{commit}:")

    def holds(self, commit: str, tree: str) -> bool:
        """Whether that commit makes these files of what is checked out."""
        # a shallow clone hides parents from `rev-parse`
        parent = f"parent {self.git('rev-parse', 'HEAD')}"
        return (
            self.tree(commit) == tree
            and parent in self.git("cat-file", "commit", commit).splitlines()
        )

    def push(self, tree: str, title: str, replaced: str) -> None:
        """Put these files on our branch as one commit; refused if the branch is another by now."""
        message = f"{title}\n\n{TRAILER}: {tree}"
        commit = self.git("commit-tree", tree, "-p", "HEAD", "-m", message)
        lease = f"--force-with-lease=refs/heads/{BRANCH}:{replaced}"
        try:
            self.git("push", "--quiet", lease, self.remote, f"{commit}:refs/heads/{BRANCH}")
        except Failure as failure:
            if "workflow" not in str(failure):
                raise
            raise Failure(
                f"{failure}\nThe template changes files in .github/workflows, which needs a token "
                "that may do so: make one and save it as the secret TEMPLATE_UPDATE_TOKEN."
            ) from failure


def with_credentials(environment: Environment, host: Host, token: str) -> Environment:
    """An environment in which Git reaches the host, and has an author."""
    count = int(environment.get("GIT_CONFIG_COUNT", "0"))
    address = urllib.parse.urlsplit(host.remote)
    name, email = host.author
    return {
        "GIT_AUTHOR_NAME": name,
        "GIT_AUTHOR_EMAIL": email,
        "GIT_COMMITTER_NAME": name,
        "GIT_COMMITTER_EMAIL": email,
        **environment,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_COUNT": str(count + 1),
        f"GIT_CONFIG_KEY_{count}": f"http.{address.scheme}://{address.netloc}/.extraHeader",
        f"GIT_CONFIG_VALUE_{count}": f"Authorization: Basic {basic(host, token)}",
    }


def basic(host: Host, token: str) -> str:
    """The token as Git sends it."""
    return base64.b64encode(f"{host.login}:{token}".encode()).decode()


# --- the template ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Template:
    """Where this project comes from."""

    location: str  # as Git takes it
    version: str


def recorded_template(answers: str) -> Template:
    """What the answers file says; raises `Failure` where that is no address."""
    said = dict(re.findall(r"(?m)^(_src_path|_commit): *['\"]?(.*?)['\"]? *$", answers))
    location = said.get("_src_path", "").removeprefix("git+")
    for short, long in {"gh:": "https://github.com/", "gl:": "https://gitlab.com/"}.items():
        if location.startswith(short):
            location = f"{long}{location.removeprefix(short)}.git"
    return Template(location, said.get("_commit", ""))


def numbers(version: str) -> list[int]:
    """What a version begins with: of v1.2.0rc1 and v1.2.0-3-gabc these are 1, 2, 0."""
    found = re.match(r"v?(\d+(?:\.\d+)*)", version)
    return [int(part) for part in found[1].split(".")] if found else []


def newest_release(tags: str) -> str | None:
    """The newest of the tags that `git ls-remote` lists; pre-releases are none."""
    return max(re.findall(r"(?m)\trefs/tags/(v?\d+(?:\.\d+)*)$", tags), key=numbers, default=None)


def tp35_of(template: Template, release: str | None) -> list[str]:
    """The command that runs tp35 as that release of the template has it."""
    location = template.location
    if not is_address(location):
        return ["uvx", "tp35@latest"]  # made from a wheel
    if "://" not in location:
        host, colon, path = location.partition(":")
        location = f"ssh://{host}/{path}" if colon else f"file://{Path(location).resolve()}"
    at = f"@{release}" if release else ""
    return ["uvx", "--from", f"git+{location}{at}", "tp35"]


def is_address(location: str) -> bool:
    """Whether Git can be asked for it, rather than a package index."""
    return ":" in location or Path(location).is_dir()


@dataclass(frozen=True)
class Update:
    """What `tp35 update --json` says it has done."""

    said: dict[str, Any]

    @property
    def title(self) -> str:
        """One line for the commit and the request."""
        marked = " (with conflicts)" if self.conflicts else ""
        return f"Update the template to {self.said['version_to']}{marked}"

    @property
    def conflicts(self) -> list[str]:
        """Each place that is left to resolve."""
        return [
            f"{place['path']}:{place['line']}" if place["line"] else str(place["path"])
            for place in self.said["conflicts"]
        ]

    def text(self) -> str:
        """What the request says, in Markdown."""
        said = self.said
        parts = [
            f"The template goes from {said['version_from']} to {said['version_to']}; `tp35 update` "
            "has merged it with this project. Once you commit to this branch it is yours, and is "
            "renewed no more."
        ]
        parts += ["\n".join(f"- {remark}" for remark in said["remarks"])] if said["remarks"] else []
        if self.conflicts:
            parts += [
                "## Conflicts",
                "These are committed with their markers, which the CI refuses. Resolve each, push, "
                "and mark this as ready.",
                "\n".join(f"- `{place}`" for place in self.conflicts),
            ]
        rows = [
            f"| `{in_cell(file['path'])}` | {file['fate']} | {in_cell(file['note'])} |"
            for file in said["files"]
            if file["fate"] != "unchanged" or file["note"]
        ]
        parts += ["## Files", "\n".join(["| file | what became of it | |", "|---|---|---|", *rows])]
        if said["changelog"]:
            parts += ["## Changes", said["changelog"].strip()]
        text = "\n\n".join(parts)
        return text if len(text) <= LONGEST else f"{text[:LONGEST]}\n\n(cut off here)"


def in_cell(text: str) -> str:
    """A text as a table's cell in Markdown."""
    return text.replace("|", "\\|").replace("\n", " ")


def update_project(command: list[str], environment: Environment) -> Update:
    """Run `tp35 update`; raises `Failure` with what it says where it refuses."""
    try:
        done = subprocess.run(
            [*command, "update", "--json"], env=environment, capture_output=True, text=True
        )
    except FileNotFoundError as error:
        raise Failure("uvx, which runs tp35, is not installed; install uv before this") from error
    try:
        said = json.loads(done.stdout)
    except ValueError:
        raise Failure(f"tp35 update: {done.stderr.strip() or done.stdout.strip()}") from None
    return Update(said)


# --- the job --------------------------------------------------------------------------------------


def propose(host: Host, repository: Repository, environment: Environment) -> str:
    """Do what is to be done; gives one line that says what that was."""
    answers = Path(".copier-answers.yml")
    if not answers.is_file():
        raise Failure(f"{answers} is missing: run this in the project's folder")
    template = recorded_template(answers.read_text("utf-8"))
    release = None
    if is_address(template.location):
        release = newest_release(repository.git("ls-remote", "--tags", "--refs", template.location))
    if release and (release == template.version or numbers(template.version) > numbers(release)):
        return f"there is no newer version of the template than {template.version}"

    there = repository.branch()
    if there and not repository.is_own(there):
        return (
            f"the branch {BRANCH} has commits of somebody else's and is left as it is; merge it or "
            "delete it, and the next run begins anew"
        )

    update = update_project(tp35_of(template, release), environment)
    repository.git("add", "--all")
    tree = repository.git("write-tree")
    if tree == repository.tree("HEAD"):
        return "the template has nothing new for this project"

    requests = host.requests()
    unchanged = bool(there) and repository.holds(there, tree)
    if unchanged and requests and (requests[0].is_open or requests[0].title == update.title):
        state = "open" if requests[0].is_open else "closed"
        return f"{requests[0].url} has this update and is {state}"
    if not unchanged:
        repository.push(tree, update.title, there)
    draft = bool(update.conflicts)
    if requests and requests[0].is_open:
        host.renew(requests[0], update.title, update.text(), draft=draft)
        return f"renewed {requests[0].url}: {update.title}"
    return f"opened {host.open(update.title, update.text(), draft=draft)}: {update.title}"


def main() -> int:
    """Run the job; gives the exit code."""
    environment = dict(os.environ)
    # what runs tp35 and its dependencies need not have it
    token = environment.pop("TEMPLATE_UPDATE_TOKEN", "")
    secrets = [token] if token else []
    try:
        if not token:
            raise Failure(
                "TEMPLATE_UPDATE_TOKEN is not set: a token that may push and open requests"
            )
        host = host_of(environment, token)
        secrets.append(basic(host, token))
        repository = Repository(host.remote, with_credentials(environment, host, token))
        said, code = propose(host, repository, environment), 0
    except Failure as failure:
        said, code = f"error: {failure}", 1
    for secret in secrets:
        said = said.replace(secret, "***")
    print(said)
    return code


if __name__ == "__main__":
    sys.exit(main())
