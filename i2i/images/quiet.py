"""libtiff writes its warnings and errors to stderr by itself; here that is turned off, since i2i reports errors.

`silence_libtiff()` has no effect where Pillow does not come with a libtiff of its own, such as on Windows.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from pathlib import Path

import PIL


def silence_libtiff() -> None:
    """Take away the handlers of messages of the libtiff that Pillow uses."""
    home = Path(PIL.__file__).parent
    for path in [*home.parent.glob("pillow.libs/libtiff*"), *home.glob(".dylibs/libtiff*")]:
        with suppress(OSError, AttributeError):
            library = ctypes.CDLL(str(path))
            library.TIFFSetErrorHandler(None)
            library.TIFFSetWarningHandler(None)
