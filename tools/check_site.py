"""Looks for faults of accessibility on every page of a built site, with axe-core in a headless Chromium.

    npm pack axe-core && tar xzf axe-core-*.tgz
    potemkin site --out site
    python tools/check_site.py site --axe package/axe.min.js

Exits with 1 where a page has a finding of impact ``serious`` or ``critical``, light or dark, wide or narrow.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

_WIDTHS = (1280, 390)
_GRAVE = ("serious", "critical")


def main() -> int:
    """Says every finding, a line each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("site", type=Path, help="folder that `potemkin site` wrote")
    parser.add_argument("--axe", type=Path, required=True, help="axe.min.js of the package axe-core")
    parser.add_argument("--page", action="append", default=[], help="only this page (repeatable)")
    parser.add_argument("--chromium", default=shutil.which("chromium"), help="the browser's executable")
    options = parser.parse_args()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        parser.error("playwright is not installed: pip install playwright")
    pages = options.page or sorted(
        p.relative_to(options.site).as_posix() for p in options.site.rglob("*.html")
    )
    axe, grave = options.axe.read_text(encoding="utf-8"), 0
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=options.chromium, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            for width in _WIDTHS:
                context = browser.new_context(
                    color_scheme=scheme,
                    viewport={"width": width, "height": 900},
                    offline=True,
                    bypass_csp=True,
                )
                page = context.new_page()
                for name in pages:
                    page.goto((options.site / name).resolve().as_uri())
                    page.evaluate(axe)
                    found = page.evaluate("axe.run()")["violations"]
                    for one in found:
                        grave += one["impact"] in _GRAVE
                        where = f"x{len(one['nodes'])} {json.dumps(one['nodes'][0]['target'])}"
                        print(f"{name} {scheme} {width}: {one['impact']} {one['id']} {where}", flush=True)
                context.close()
        browser.close()
    print(f"{len(pages)} pages, light and dark, {_WIDTHS} pixels wide: {grave} grave findings")
    return 1 if grave else 0


if __name__ == "__main__":
    sys.exit(main())
