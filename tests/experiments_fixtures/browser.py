"""A real browser for the tests of pages: any Chromium of this machine, driven by Playwright."""

import contextlib
import os
import pathlib
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser; without one the test is skipped, or fails where POCKETUNET_NEEDS_BROWSER says that there is one."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        reason = f"no browser is on PATH, neither {', '.join(NAMES)}; `apt-get install chromium` brings one"
        (pytest.fail if os.environ.get("POCKETUNET_NEEDS_BROWSER") else pytest.skip)(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@contextlib.contextmanager
def opened(
    browser: Browser, path: pathlib.Path, *, width: int = 1280, scheme: str = "light", permissions: tuple[str, ...] = ()
) -> Iterator[Page]:
    """A page from disk once its figures are drawn; ends with the check that it reported no error and asked for nothing else."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, permissions=list(permissions))
    page, complaints, requests = context.new_page(), [], []
    page.on("console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.on("request", lambda request: requests.append(request.url[:80]))
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-drawn]")
    try:
        yield page
        assert complaints == []
        assert [url for url in requests if not url.startswith("data:")] == [path.as_uri()[:80]]
    finally:
        context.close()
