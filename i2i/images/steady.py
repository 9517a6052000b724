"""Less flicker in translated videos: `steady = Steady(); out = steady(frame, result)` for each frame in order.

A network sees one frame at a time, so what it invents differs from frame to frame. Here, the result before is moved
along with the motion of the input (optical flow), and mixed with the result of this frame, wherever that motion is
reliable: forward and backward flow agree, the input looks the same after the motion, and the results do not
contradict each other. At a cut nothing is reliable, so the result is that of the frame alone.

The flow is OpenCV's DIS (Kroeger et al., arXiv:1603.03590), the test of forward and backward flow that of Sundaram,
Brox and Keutzer (ECCV 2010), eq. 5. `benchmarks/steady.py` measures what it brings and what it costs.
"""

from __future__ import annotations

import numpy as np

SHARE = 0.7  # of the result before, where the motion is fully reliable
LOOKS = 16.0  # levels of 255 by which the input may look different after its motion
AGREES = 100.0  # levels of 255 by which the results may differ
CUT = 0.35  # of the picture is reliable, at least; else it is a cut
LEAST = 16  # pixels of a side, which the flow needs


class Steady:
    """Steadies the results of one clip.

    Args:
        given, made: the last input and its steadied result, to continue after them: uint8 [H, W, 3].

    Attributes:
        made: the steadied result of the last frame.
        cuts: how often it started over.
    """

    def __init__(self, given: np.ndarray | None = None, made: np.ndarray | None = None) -> None:
        import cv2

        self.given, self.made = given, made
        self.cuts = 0
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def __call__(self, given: np.ndarray, made: np.ndarray) -> np.ndarray:
        """Return the steadied result of the next frame.

        Args:
            given: the frame, uint8 [H, W, 3].
            made: its result, uint8 [S H, S W, 3] with any scale S, which need not be the same in both directions.
        """
        before, self.given = self.given, given
        if before is not None and self.made is not None and min(given.shape[:2]) >= LEAST:
            made = self._mixed(before, given, self.made, made)
        self.made = made
        return made

    def _mixed(self, before: np.ndarray, given: np.ndarray, old: np.ndarray, made: np.ndarray) -> np.ndarray:
        import cv2

        back, reliable = motion(self._flow, before, given)
        if reliable.mean() < CUT or old.shape != made.shape:
            self.cuts += 1
            return made
        height, width = made.shape[:2]
        stretch = np.array([width / given.shape[1], height / given.shape[0]], np.float32)
        back = cv2.resize(back, (width, height), interpolation=cv2.INTER_LINEAR) * stretch
        reliable = cv2.resize(reliable, (width, height), interpolation=cv2.INTER_LINEAR)
        moved = warped(old, back, cv2.INTER_CUBIC).astype(np.float32)
        differ = np.abs(moved - made).mean(2)
        share = (SHARE * reliable * np.exp(-np.square(differ / AGREES)))[..., None]
        return np.rint(share * moved + (1 - share) * made).clip(0, 255).astype(np.uint8)


def motion(flow: object, before: np.ndarray, now: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where each pixel of a frame was in the frame before, and how reliable that is.

    Args:
        flow: OpenCV's, with `calc`.
        before, now: two frames, uint8 [H, W, 3].

    Returns:
        Offsets float32 [H, W, 2] in pixels (x, y), and reliability float32 [H, W] in [0, 1].
    """
    import cv2

    greys = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (before, now)]
    back, forth = flow.calc(greys[1], greys[0], None), flow.calc(greys[0], greys[1], None)  # type: ignore[attr-defined]
    there = warped(forth, back, cv2.INTER_LINEAR)
    length = np.square(back).sum(2) + np.square(there).sum(2)
    agree = np.square(back + there).sum(2) < 0.01 * length + 0.5
    error = np.abs(warped(before, back, cv2.INTER_LINEAR).astype(np.float32) - now).mean(2)
    y, x = np.mgrid[: now.shape[0], : now.shape[1]].astype(np.float32)
    x, y = x + back[..., 0], y + back[..., 1]
    inside = (x >= 0) & (x <= now.shape[1] - 1) & (y >= 0) & (y <= now.shape[0] - 1)
    return back, (agree & inside) * np.exp(-np.square(error / LOOKS)).astype(np.float32)


def warped(picture: np.ndarray, back: np.ndarray, interpolation: int) -> np.ndarray:
    """Return a picture [H, W, C] taken at the offsets of `motion`."""
    import cv2

    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]].astype(np.float32)
    return cv2.remap(picture, x + back[..., 0], y + back[..., 1], interpolation, borderMode=cv2.BORDER_REPLICATE)
