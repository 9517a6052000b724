"""Tar archives of pictures: read in place, never unpacked, and only if they are complete.

for member, content in archived("train.tar"): ...
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .. import images
from ..errors import DataError


def archived(file: Path) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """Yield each regular file of a tar archive, compressed or not, in its order.

    Raises:
        DataError: it is damaged, or it was cut off, even between two members: it must end with a block of zeros.
    """
    with opened(file) as tar:
        for member in tar:
            stream = tar.extractfile(member) if member.isreg() else None
            if stream is not None:
                yield member, stream.read()


def members(file: Path) -> Iterator[tarfile.TarInfo]:
    """Yield the headers of the regular files in an uncompressed tar archive, without reading their contents.

    The content of a member is `size` bytes from `offset_data`.

    Raises:
        DataError: as `archived`, or the archive is compressed.
    """
    with opened(file, "r:") as tar:
        yield from (member for member in tar if member.isreg() and not member.issparse())


@contextmanager
def opened(file: Path, mode: str = "r") -> Iterator[tarfile.TarFile]:
    """Open an archive, and check that it is complete once all of its members were read."""
    try:
        with tarfile.open(file, mode) as tar:  # type: ignore[call-overload]
            yield tar
            assert tar.fileobj is not None
            tar.fileobj.seek(tar.offset)
            ended = tar.fileobj.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)
            count = sum(member.isreg() for member in tar.getmembers())
    except (tarfile.TarError, EOFError, OSError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{images.shown(file)}: cannot be read as a tar file ({why})") from error
    if not ended:
        raise DataError(
            f"{images.shown(file)}: truncated: it ends after {count} files without the mark at the end of a tar; "
            f"copy or download it again"
        )
