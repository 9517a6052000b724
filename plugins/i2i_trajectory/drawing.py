"""Scenes from above: observed, true and predicted paths as a picture or an animation."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

OBSERVED, TRUE, PREDICTED = (40, 60, 130), (20, 140, 70), (225, 105, 30)
FINE = 2  # drawn this many times larger, then averaged


class Sheet:
    """A picture of a part of the ground, `size` pixels wide, y upwards; square, or as high as needed."""

    def __init__(self, points: np.ndarray, size: int, square: bool = True) -> None:
        low, high = (points.min(0), points.max(0)) if len(points) else (np.zeros(2), np.ones(2))
        extent = np.maximum(high - low, 1.0)
        self.middle = (low + high) / 2
        self.head = 14  # for the legend
        room = size - self.head
        self.scale = FINE * 0.9 * room / (float(extent.max()) if square else max(extent[0], extent[1] * room / size))
        self.wide = size
        self.high = size if square else self.head + 36 + round(extent[1] * self.scale / FINE)
        self.image = Image.new("RGB", (self.wide * FINE, self.high * FINE), "white")
        self.pen = ImageDraw.Draw(self.image, "RGBA")
        metre = next((m for m in (1, 2, 5, 10, 20, 50) if m * self.scale > 0.08 * FINE * size), 100)
        y = (self.high - 5) * FINE
        self.pen.line([(5 * FINE, y), (5 * FINE + metre * self.scale, y)], fill=(90, 90, 90), width=FINE)
        self.text((5, self.high - 18), f"{metre} m", (90, 90, 90))

    def at(self, points: np.ndarray) -> list[tuple[float, float]]:
        """Return points [n, 2] in metres as pixels."""
        moved = (points - self.middle) * self.scale * np.array([1, -1])
        centre = np.array([self.wide, self.high + self.head]) * FINE / 2
        return [(float(x), float(y)) for x, y in moved + centre]

    def path(self, points: np.ndarray, colour: tuple[int, ...], width: float = 1.5) -> None:
        """Draw a line through points [n, 2]."""
        if len(points) > 1:
            self.pen.line(self.at(points), fill=colour, width=round(width * FINE), joint="curve")

    def dots(self, points: np.ndarray, colour: tuple[int, ...], radius: float = 2.0) -> None:
        """Draw discs at points [n, 2]."""
        for x, y in self.at(points):
            r = radius * FINE
            self.pen.ellipse([x - r, y - r, x + r, y + r], fill=colour)

    def text(self, place: tuple[int, int], words: str, colour: tuple[int, ...]) -> None:
        """Write words at a place in pixels of the final picture."""
        self.pen.text((place[0] * FINE, place[1] * FINE), words, fill=colour, font_size=10 * FINE)

    def legend(self, entries: dict[str, tuple[int, ...]]) -> None:
        """Write the meaning of the colours at the top."""
        left = 5
        for words, colour in entries.items():
            self.text((left, 1), words, colour)
            left += 12 + round(self.pen.textlength(words, font_size=10 * FINE) / FINE)

    def pixels(self) -> np.ndarray:
        """Return the picture, uint8 [H, size, 3]."""
        return np.array(self.image.resize((self.wide, self.high), Image.Resampling.BOX))


def everything(*paths: np.ndarray | None) -> np.ndarray:
    """Return all positions of paths [..., 2] as [n, 2]."""
    return np.concatenate([path.reshape(-1, 2) for path in paths if path is not None] or [np.zeros((0, 2))])


def drawn(
    observed: np.ndarray | None,
    truth: np.ndarray | None = None,
    made: np.ndarray | None = None,
    size: int = 256,
    square: bool = True,
) -> np.ndarray:
    """Draw a scene: uint8 [H, size, 3].

    Args:
        observed: [P, T, 2] in metres.
        truth: [P, T, 2], what followed.
        made: [K, P, T, 2], what was predicted.
        size: width in pixels.
        square: whether the picture is as high as it is wide, or as high as the scene.
    """
    sheet = Sheet(everything(observed, truth, made), size, square)
    start = None if observed is None else observed[:, -1:]
    if made is not None:
        faint = (*PREDICTED, max(40, 200 // max(len(made), 1)))
        for paths in made:
            for p, path in enumerate(paths):
                sheet.path(path if start is None else np.concatenate([start[p], path]), faint)
            sheet.dots(paths[:, -1], (*PREDICTED, 110), 1.3)
    for p in range(0 if observed is None else len(observed)):
        if truth is not None:
            sheet.path(np.concatenate([observed[p, -1:], truth[p]]), TRUE)  # type: ignore[index]  # not None here
            sheet.dots(truth[p], TRUE, 1.1)
        sheet.path(observed[p], OBSERVED, 2)  # type: ignore[index]
        sheet.dots(observed[p, -1:], OBSERVED, 2.5)  # type: ignore[index]
    sheet.legend(entries(observed, truth, made))
    return sheet.pixels()


def entries(observed: object, truth: object, made: np.ndarray | None) -> dict[str, tuple[int, ...]]:
    """Return the legend of what is drawn."""
    found: dict[str, tuple[int, ...]] = {}
    if observed is not None:
        found["observed"] = OBSERVED
    if truth is not None:
        found["true"] = TRUE
    if made is not None:
        found[f"{len(made)} predicted"] = PREDICTED
    return found


def animated(observed: np.ndarray, truth: np.ndarray | None, made: np.ndarray, size: int = 400) -> np.ndarray:
    """Draw a scene frame by frame, for arguments as of `drawn`: uint8 [T, H, size, 3]."""
    points = everything(observed, truth, made)
    frames = []
    for now in range(1, observed.shape[1] + made.shape[2] + 1):
        sheet, later = Sheet(points, size, square=False), now - observed.shape[1]
        for p, path in enumerate(observed):
            if later > 0:
                for sample in made[:, p, :later]:
                    sheet.path(np.concatenate([path[-1:], sample]), (*PREDICTED, 40))
                sheet.dots(made[:, p, later - 1], (*PREDICTED, 150), 1.8)
                if truth is not None:
                    sheet.path(np.concatenate([path[-1:], truth[p, :later]]), TRUE)
                    sheet.dots(truth[p, later - 1 : later], TRUE, 3)
            sheet.path(path[:now], OBSERVED, 2)
            if later <= 0:
                sheet.dots(path[now - 1 : now], OBSERVED, 3)
        sheet.legend(entries(observed, truth, made))
        frames.append(sheet.pixels())
    return np.stack(frames)
