"""A self-contained HTML page: two pictures with a divider that is dragged, or moved with the arrow keys.

Without JavaScript the pictures are shown one below the other. Nothing is loaded from elsewhere: a
Content-Security-Policy forbids it, and allows this one script.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

from i2i import images

if TYPE_CHECKING:
    from .results import Shown

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 80rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
h1 { font-size: 1.3rem; overflow-wrap: anywhere } h2 { font-size: 1.1rem; margin-top: 2rem }
label { margin-right: 1.5rem } select { font: inherit; max-width: 24rem }
.stage { position: relative; width: fit-content; min-width: min(100%, 480px); max-width: 100%; margin-top: 1rem;
  --Divider: 50% }
.stage img { display: block; width: 100%; user-select: none }
.stage .left { position: absolute; inset: 0; width: 100%; height: 100%;
  clip-path: inset(0 calc(100% - var(--Divider)) 0 0) }
.stage .line { position: absolute; top: 0; bottom: 0; left: var(--Divider); width: 2px; margin-left: -1px;
  background: #fff; box-shadow: 0 0 0 1px #0008; pointer-events: none }
.stage input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: ew-resize }
.stage input:focus-visible + .line { width: 4px; margin-left: -2px; background: #0b5fff }
figure { margin: 0 0 1.5rem } figure img { max-width: 100% } figcaption { overflow-wrap: anywhere }
.about { color: #666 }
"""
SCRIPT = """
const pictures = document.querySelectorAll("figure img"), stage = document.querySelector(".stage");
const slider = stage.querySelector("input");
function show() {
  for (const side of ["left", "right"]) {
    const chosen = pictures[document.getElementById(side).value], image = stage.querySelector("." + side);
    image.src = chosen.src;
    image.alt = side + ": " + chosen.alt;
  }
}
function move() {
  stage.style.setProperty("--Divider", slider.value + "%");
  slider.setAttribute("aria-valuetext", Math.round(slider.value) + " % of the left picture is shown");
}
document.getElementById("left").addEventListener("change", show);
document.getElementById("right").addEventListener("change", show);
slider.addEventListener("input", move);
show();
move();
document.getElementById("compare").hidden = false;
"""


def html_of(title: str, shown: Sequence[Shown]) -> str:
    """Return the page; the divider starts between the first and the last picture."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    name = html.escape(title)
    figures = (
        f"<figure><figcaption>{html.escape(one.name)} "
        f'<span class="about">{html.escape(one.about)}</span></figcaption>'
        f'<img alt="{html.escape(one.name)}" src="data:image/png;base64,{encoded(one)}"></figure>'
        for one in shown
    )
    return "\n".join(
        [
            '<!doctype html><html lang="en"><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{name}</title><style>{STYLE}</style>",
            f'<h1>{name}</h1><section id="compare" hidden>',
            f'<label>Left: <select id="left">{choices(shown, 0)}</select></label>',
            f'<label>Right: <select id="right">{choices(shown, len(shown) - 1)}</select></label>',
            '<div class="stage"><img class="right" alt=""><img class="left" alt="">',
            '<input type="range" min="0" max="100" step="0.5" value="50" '
            'aria-label="Divider between left and right">',
            '<span class="line"></span></div></section>',
            "<h2>All pictures</h2>",
            *figures,
            f"<script>{SCRIPT}</script></html>",
        ]
    )


def choices(shown: Sequence[Shown], chosen: int) -> str:
    """Return the options of a menu of the pictures."""
    return "".join(
        f'<option value="{number}"{" selected" * (number == chosen)}>{html.escape(one.name)}</option>'
        for number, one in enumerate(shown)
    )


def encoded(one: Shown) -> str:
    """Return a picture as PNG in base64."""
    return base64.b64encode(images.png(one.pixels)).decode()
