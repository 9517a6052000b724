"""Builds the documentation site from the Markdown of the repository: `make site`.

    python docs/make_site.py [OUT]

The pages are README.md, docs/ and the README of each plugin, as they are: this script only copies them, leads their
links to the right places, and adds a gallery, which has the pictures of the plugins with their captions. Zensical
makes the site, by default in build/site; zensical.toml has the menu.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"(?<!\!)\[([^\]\[]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")
PICTURE = re.compile(r"^!\[[^\]]*\]\(([^)\s]+)\)$", re.M)
HEAD = """\
# Gallery

What the systems make, from the README of each plugin.
"""


def main() -> None:
    """Build the site; exit with the code of Zensical, which is not 0 if a link leads nowhere."""
    out = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "site").absolute()
    place = out.with_name(f"{out.name}-pages")
    shutil.rmtree(place, ignore_errors=True)
    for source, target in pages():
        (place / target).parent.mkdir(parents=True, exist_ok=True)
        (place / target).write_text(linked(source.read_text(), source), encoding="utf-8")
    for picture in pictures():
        target = place / picture.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, target)
    (place / "gallery.md").write_text(gallery(), encoding="utf-8")
    settings = place.with_suffix(".toml")
    text = (ROOT / "zensical.toml").read_text()
    folders = f'docs_dir = "{place.name}"\nsite_dir = "{out.name}"\n'
    settings.write_text(text.replace("[project]\n", f"[project]\n{folders}", 1))
    raise SystemExit(subprocess.run(["zensical", "build", "--clean", "--strict", "-f", settings]).returncode)


def pictures() -> list[Path]:
    """Return the pictures that a page may show."""
    forms = ("png", "gif", "jpg")
    return sorted(
        one for form in forms for folder in ("plugins/*", "docs") for one in ROOT.glob(f"{folder}/*.{form}")
    )


def pages() -> Iterator[tuple[Path, str]]:
    """Yield the Markdown files, and the name of each in the site."""
    yield ROOT / "README.md", "index.md"
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        yield ROOT / name, name
    for page in sorted(ROOT.glob("docs/**/*.md")):
        yield page, page.relative_to(ROOT).as_posix()
    for page in sorted(ROOT.glob("plugins/*/README.md")):
        yield page, f"plugins/{page.parent.name}/index.md"


def linked(text: str, source: Path) -> str:
    """Return a page whose links lead to pages of the site; those to other files of the repository become text."""
    known = {page.resolve(): name for page, name in pages()}
    here = known[source.resolve()]

    def replace(match: re.Match[str]) -> str:
        words, target, part = match[1], match[2], match[3] or ""
        if "://" in target or target.startswith("mailto:"):
            return match[0]
        file = (source.parent / target).resolve()
        name = known.get(file) or known.get(file / "README.md")
        up = "../" * here.count("/")
        return f"[{words}]({up}{name}{part})" if name else words

    return LINK.sub(replace, text)


def gallery() -> str:
    """Return a page with the pictures of each plugin, their captions and the plugin's first command."""
    parts = [HEAD]
    for page in sorted(ROOT.glob("plugins/*/README.md")):
        name, text = page.parent.name, page.read_text()
        shown = list(captioned(text))
        if shown:
            command = next(iter(re.findall(r"^    (i2i .*?)(?:  +#.*)?$", text, re.M)), "")
            parts.append(f"## [{name.removeprefix('i2i_')}](plugins/{name}/index.md)\n\n    {command}\n")
            parts += [f"![{name}](plugins/{name}/{picture})\n\n{caption}\n" for picture, caption in shown]
    return "\n".join(parts)


def captioned(text: str) -> Iterator[tuple[str, str]]:
    """Yield each picture of a page and the paragraph in italics below it, or ""."""
    for match in PICTURE.finditer(text):
        below = text[match.end() :].lstrip("\n").split("\n\n")[0]
        yield match[1], linked_out(below) if below.startswith("*") else ""


def linked_out(text: str) -> str:
    """Return text without its links."""
    return LINK.sub(lambda match: match[1], text)


if __name__ == "__main__":
    main()
