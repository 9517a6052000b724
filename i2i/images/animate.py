"""Frames as an animated GIF, or as MP4 if the installed OpenCV can write it."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import ResourceError


def gif(frames: np.ndarray, fps: float = 12) -> bytes:
    """Encode frames uint8 [T, H, W, 3] as a looping GIF with 256 colours per frame."""
    pictures = [Image.fromarray(frame) for frame in frames]
    buffer = io.BytesIO()
    pictures[0].save(
        buffer, format="GIF", save_all=True, append_images=pictures[1:], duration=round(1000 / fps), loop=0
    )
    return buffer.getvalue()


def mp4(frames: np.ndarray, fps: float = 12) -> bytes:
    """Encode frames uint8 [T, H, W, 3] as MP4; an odd height or width is cropped by one pixel.

    Raises:
        ResourceError: the installed OpenCV cannot write MP4.
    """
    import cv2

    even = frames[:, : frames.shape[1] // 2 * 2, : frames.shape[2] // 2 * 2, ::-1]  # OpenCV takes BGR
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frames.mp4"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, even.shape[2:0:-1])
        opened = writer.isOpened()
        for frame in even if opened else ():
            writer.write(np.ascontiguousarray(frame))
        writer.release()
        if not opened or not path.is_file() or not path.stat().st_size:
            raise ResourceError("the installed OpenCV cannot write MP4: use .gif, or install an OpenCV with FFmpeg")
        return path.read_bytes()
