"""The checks of pages can fail: a page with one fault of each kind has all of them told."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import PHONE, launched, program, visit

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(program() is None, reason="no Chromium on this machine"),
]

GOOD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Good</title>
<link rel="icon" href="data:,"><main><h1>Good</h1><button id="one">one</button></main></html>"""
BAD = """<!doctype html><html><meta charset="utf-8"><title></title>
<img src="http://127.0.0.1:9/x.png"><p style="width: 2000px">wide</p>
<script>console.error("told"); throw new Error("raised")</script></html>"""


def test_what_is_wrong_with_a_page_is_seen(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.html", tmp_path / "bad.html"
    good.write_text(GOOD, "utf-8")
    bad.write_text(BAD, "utf-8")
    with launched() as browser:
        with visit(browser, good, width=PHONE) as seen:
            assert seen.complaints == seen.foreign() == seen.barriers() == []
            assert not seen.is_too_wide()
            assert seen.reached_by_keyboard() == ["button#one"]
        with visit(browser, bad, width=PHONE) as seen:
            assert {"told", "raised"} <= set(seen.complaints)
            assert seen.foreign() == ["http://127.0.0.1:9/x.png"]
            assert any("image-alt" in barrier for barrier in seen.barriers())
            assert seen.is_too_wide()
