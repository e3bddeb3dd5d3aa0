"""Take the pictures of Prefect's UI that the documentation shows.

``python infra/screenshots.py API_URL FOLDER NAME=PATH ...`` drives the system's Chromium, without a
window; a path is what follows the server's address, such as ``runs=/runs``.
"""

import os
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
SIZE = {"width": 1280, "height": int(os.environ.get("HEIGHT", "800"))}
SETTLE_MILLISECONDS = int(os.environ.get("SETTLE", "4000"))


def main(url: str, folder: str, *pages: str) -> None:
    """Take one picture a page."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        page = browser.new_context(viewport=SIZE).new_page()
        page.set_default_timeout(180_000)
        for name, path in (page.split("=", 1) for page in pages):
            page.goto(url.removesuffix("/api") + path)
            # The pages load their parts one by one and poll for ever: there is no moment of rest.
            page.wait_for_timeout(SETTLE_MILLISECONDS)
            file = Path(folder) / f"ui-{name}.png"
            page.screenshot(path=file)
            print(file, file.stat().st_size)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
