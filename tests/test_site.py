"""The documentation site has every page once, and no link that leads nowhere; a build with a broken link fails."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import build_site
import pytest

ROOT = Path(__file__).parent.parent
CONFIG = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]


def in_nav(part: object) -> list[str]:
    if isinstance(part, str):
        return [part]
    return [page for each in (part.values() if isinstance(part, dict) else part) for page in in_nav(each)]


def test_every_page_stands_in_the_navigation_once():
    made = [*build_site.sources().values(), *(f"api/{name}.md" for name in build_site.API)]
    assert sorted(in_nav(CONFIG["nav"])) == sorted(made)


def test_links_lead_to_the_sites_pages_to_the_repository_or_become_text():
    file = ROOT / "docs" / "tour.md"
    text = (
        "[a](lab.md#edits) [b](../README.md) [c](../benchmarks/results.md) ![d](images/heads.png) `[e](../x)` [f](#g)"
    )
    here = build_site.relinked(text, file, "tour.md", home=None)
    assert here == "[a](lab.md#edits) [b](index.md) c ![d](images/heads.png) `[e](../x)` [f](#g)"
    there = build_site.relinked(text, file, "api/tour.md", home="https://example.org/x")
    assert "[a](../lab.md#edits)" in there
    assert "[c](https://example.org/x/blob/main/benchmarks/results.md)" in there
    with pytest.raises(SystemExit, match="broken link: nowhere"):
        build_site.relinked("[a](nowhere.md)", file, "tour.md", home=None)


def test_every_page_is_put_together_without_a_link_that_leads_nowhere(tmp_path, monkeypatch):
    monkeypatch.setattr(build_site, "PAGES", tmp_path / "site")
    build_site.put_together(live=False)
    pages = {path.relative_to(tmp_path / "site").as_posix() for path in (tmp_path / "site").rglob("*.md")}
    assert pages == set(in_nav(CONFIG["nav"]))
    for name in pages:
        for target in build_site._LINK.finditer(build_site._CODE.sub("", (tmp_path / "site" / name).read_text())):
            if target[3] != "explore.html":
                assert (tmp_path / "site" / name).parent.joinpath(target[3]).exists(), (name, target[3])
    assert '<iframe src="explore.html"' in (tmp_path / "site" / "index.md").read_text()


def test_the_api_pages_name_what_people_call():
    page = build_site.api_page("T", "inspector")
    assert set(re.findall(r"heading: inspector\.(\w+)", page)) >= {"load", "verify", "judge", "Trace", "from_tensors"}
    assert "heading: inspector.views.explore" in build_site.api_page("T", "inspector.views")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("zensical") is None, reason="make docs installs zensical")
def test_the_site_is_built_and_a_broken_link_is_an_error(monkeypatch):
    assert build_site.main() == 0
    index = build_site.PAGES / "index.md"
    index.write_text(index.read_text() + "\n[wrong](nowhere.md)\n")
    again = ["zensical", "build", "--clean", "--strict", "-f", str(ROOT / "zensical.toml")]
    assert subprocess.run(again, cwd=ROOT, check=False, capture_output=True).returncode != 0
