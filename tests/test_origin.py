"""Where a template lies: no secret is written down, and it is said whether others find it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tp35.origin import absolute, is_local, is_portable, redacted, without_credentials

pytestmark = pytest.mark.unit

HOST = "https://git.example.org"


@pytest.mark.parametrize(
    ("location", "public"),
    [
        ("https://ada:s3cret@git.example.org/a/b.git", f"{HOST}/a/b.git"),
        ("https://s3cret@git.example.org/a/b", f"{HOST}/a/b"),
        ("HTTPS://ada:p@ss#wo?rd@git.example.org/a", "HTTPS://git.example.org/a"),
        ("git+https://oauth2:s3cret@git.example.org/a", "git+https://git.example.org/a"),
        ("http://ada:s3cret@[::1]:8080/a", "http://[::1]:8080/a"),
        ("https://ada:s3'cret\"s3cret@git.example.org/a", f"{HOST}/a"),
        ("ssh://git:s3cret@git.example.org:22/a", "ssh://git@git.example.org:22/a"),
        (f"{HOST}/a.git?private_token=s3cret", f"{HOST}/a.git"),
        (f"{HOST}/a.git?ref=main&access_token=s3cret&x=1#b", f"{HOST}/a.git?ref=main&x=1#b"),
        (f"{HOST}/a.git?job_token=s3cret&ref=main", f"{HOST}/a.git?ref=main"),
        (f"{HOST}/a?X-Amz-Signature=s3cret&sig=s3cret", f"{HOST}/a"),
        (f"{HOST}/a#access_token=s3cret", f"{HOST}/a"),
    ],
)
def test_credentials_are_taken_out(location: str, public: str) -> None:
    assert without_credentials(location) == (public, True)
    assert without_credentials(public) == (public, False)
    said = redacted(f"fatal: unable to access '{location}': no route, see {HOST}/help")
    assert said == f"fatal: unable to access '{public}': no route, see {HOST}/help"
    assert "s3cret" not in said


@pytest.mark.parametrize(
    "location",
    [
        f"{HOST}/a/b.git",
        f"{HOST}/@scope/b@v1",
        f"{HOST}/a?ref=main&x=1#b",
        "ssh://git@git.example.org/a",
        "git@git.example.org:a/b.git",
        "gh:a/b",
        "/home/ada@work/tp35",
        r"C:\Users\ada\tp35",
        "tp35",
        "",
    ],
)
def test_all_else_stays(location: str) -> None:
    assert without_credentials(location) == (location, False)
    assert redacted(f"cannot read {location}") == f"cannot read {location}"


@pytest.mark.parametrize(
    ("location", "local", "portable"),
    [
        (f"{HOST}/a", False, True),
        ("https://ada:s3cret@git.example.org/a", False, True),
        ("git+ssh://git@git.example.org/a", False, True),
        ("git@git.example.org:a/b.git", False, True),
        ("git.example.org:a/b", False, True),
        ("gh:a/b", False, True),
        ("gl:a/b", False, True),
        ("http://localhost:3000/a", False, False),
        ("http://ada@127.0.0.1/a", False, False),
        ("http://[::1]/a", False, False),
        ("file:///srv/tp35", False, False),
        ("/srv/tp35", True, False),
        ("../tp35", True, False),
        ("~/tp35", True, False),
        ("tp35", True, False),
        (r"C:\tp35", True, False),
        ("C:/tp35", True, False),
        (r"\\server\share\tp35", True, False),
        ("", True, False),
    ],
)
def test_who_finds_it(location: str, local: bool, portable: bool) -> None:
    assert (is_local(location), is_portable(location)) == (local, portable)


def test_paths_begin_at_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert absolute("templates/tp35") == str(tmp_path / "templates" / "tp35")
    assert absolute("~/tp35") == str(tmp_path / "home" / "tp35")
    for address in ("gh:a/b", f"{HOST}/a", "git@git.example.org:a", str(tmp_path)):
        assert absolute(address) == address
