"""The documentation site is built without a warning, has every page, and what docs/moving.md promises exists."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from i2i import ConfigError, config
from i2i.plugins import registry

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
OF_SECTION = {
    "pytorch-CycleGAN": ("cyclegan", "facades"),
    "BasicSR": ("msrresnet", "esrgan"),
    "SPADE": ("spade_cityscapes", "spade_coco"),
}


@pytest.mark.skipif(shutil.which("zensical", path=str(BIN)) is None, reason="needs zensical: pip install 'i2i[docs]'")
def test_the_site_is_built_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "docs/make_site.py", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    home = (tmp_path / "site" / "index.html").read_text()
    for page in ("gallery", "docs/tutorial", "docs/scale", "plugins/i2i_cyclegan"):
        assert (tmp_path / "site" / page / "index.html").is_file()
    assert "plugins/i2i_cyclegan/run.png" in home
    assert (tmp_path / "site" / "plugins" / "i2i_cyclegan" / "run.png").is_file()
    for page in (tmp_path / "site").rglob("*.html"):
        for picture in re.findall(r'<img[^>]* src="([^":]+)"', page.read_text()):
            assert (page.parent / picture).resolve().is_file(), f"{page}: {picture}"
    assert not re.findall(r'(?:src|href)="https?://[^"]*\.(?:js|css|woff2?)"', home)


def test_every_picture_of_a_page_exists() -> None:
    pages = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("plugins/*/README.md")]
    shown = [(page, name) for page in pages for name in re.findall(r"!\[[^\]]*\]\(([^)\s]+)\)", page.read_text())]
    assert len(shown) > 20
    assert not [(page, name) for page, name in shown if not (page.parent / name).is_file()]


def test_every_page_of_docs_is_in_the_menu_of_the_site() -> None:
    menu = set(re.findall(r'= "([^"]+\.md)"', (ROOT / "zensical.toml").read_text()))
    pages = {page.relative_to(ROOT).as_posix() for page in (ROOT / "docs").glob("*.md")}
    assert pages <= menu
    assert menu - pages == {"index.md", "gallery.md", "CONTRIBUTING.md", "CHANGELOG.md"}


def sections() -> dict[str, str]:
    text = (ROOT / "docs" / "moving.md").read_text()
    parts = re.split(r"^## ", text, flags=re.M)
    return {name: part for name in OF_SECTION for part in parts if part.startswith(name)}


@pytest.mark.parametrize("name", OF_SECTION)
def test_the_keys_for_those_who_move_exist(name: str) -> None:
    known = registry().catalog
    spans = re.findall(r"`((?:task|data|train|schedule|metrics)[.=][^`]*=?[^`]*)`", sections()[name])
    changes = [one for span in spans for one in re.split(r" (?=(?:task|data|train)\.)", span) if "=" in one]
    assert len(changes) > 3
    for change in changes:
        if change in ("data.root=D",):
            continue
        errors = []
        for base in OF_SECTION[name]:
            try:
                config.load(ROOT / "configs" / "paper" / f"{base}.yaml", [change.replace("[...]", "[1, 2]")], known)
            except ConfigError as error:
                errors.append(str(error))
        assert len(errors) < len(OF_SECTION[name]), (change, errors)
