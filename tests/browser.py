"""A real browser: Chromium of the machine, driven by Playwright, which says what a page did."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Request, sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
PHONE, DESKTOP = 390, 1280
ARGUMENTS = (
    "--no-sandbox",  # its sandbox needs more than a container has
    "--use-fake-device-for-media-stream",  # a microphone that beeps
    "--use-fake-ui-for-media-stream",  # which every page may use
)
Scheme = Literal["light", "dark"]

# what axe-core calls the weight of a finding
SERIOUS = ("serious", "critical")


def program() -> str | None:
    """The browser of this machine, or None."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


@contextmanager
def launched() -> Iterator[Browser]:
    """The browser, without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program(), args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visit:
    """A page as somebody sees it.

    Attributes:
        page: to look at and to act on.
        complaints: what the console got as a warning or an error, and what the page raised.
        requests: every address that it asked for.
    """

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def foreign(self) -> list[str]:
        """Requests that left the page's own origin, or for a file any request but its own."""
        own = urlsplit(self.page.url)
        return [
            address
            for address in self.requests
            if (
                (parts := urlsplit(address)).scheme not in ("data", "blob")
                and (parts.scheme, parts.netloc) != (own.scheme, own.netloc)
            )
            or (parts.scheme == "file" and parts.path != own.path)
        ]

    def barriers(self) -> list[str]:
        """What axe-core finds that keeps people from using the page."""
        found: list[dict[str, Any]] = Axe().run(self.page).response["violations"]
        return [
            f"{one['id']}: {one['help']}: {[node['target'] for node in one['nodes'][:3]]}"
            for one in found
            if one["impact"] in SERIOUS
        ]

    def is_too_wide(self) -> bool:
        """Whether the page, not a part of it, scrolls to the side."""
        script = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        return bool(self.page.evaluate(script))

    def reached_by_keyboard(self, most: int = 400) -> list[str]:
        """What Tab stops at, from the top of the page to its end, as `tag#id`."""
        self.page.evaluate("document.activeElement.blur()")
        reached: list[str] = []
        for _ in range(most):
            self.page.keyboard.press("Tab")
            name = self.page.evaluate(
                "(e => e === document.body ? '' : e.tagName.toLowerCase() + '#' + e.id)"
                "(document.activeElement)"
            )
            if not name:
                break
            reached.append(name)
        return reached


@contextmanager
def visit(
    browser: Browser, address: str | Path, *, width: int = DESKTOP, scheme: Scheme = "light"
) -> Iterator[Visit]:
    """Open a page, or a file, and wait until it is quiet.

    Args:
        browser: as `launched` gives it.
        address: an address, or the path of a file.
        width: of the window, in pixels.
        scheme: what the visitor prefers.
    """
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    try:
        page = context.new_page()
        visited = Visit(page)

        def note(request: Request) -> None:
            visited.requests.append(request.url)

        page.on("request", note)
        page.on("pageerror", lambda error: visited.complaints.append(str(error)))
        page.on(
            "console",
            lambda message: (
                visited.complaints.append(message.text)
                if message.type in ("error", "warning")
                else None
            ),
        )
        page.goto(address.as_uri() if isinstance(address, Path) else address)
        page.wait_for_load_state("networkidle")
        yield visited
    finally:
        context.close()
