"""Tar archives of pictures: read in place, never unpacked, and only if they are complete.

for member, content in archived("train.tar"): ...
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

from .. import images
from ..errors import DataError


def archived(file: Path) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """Yield each regular file of a tar archive, compressed or not, in its order.

    Raises:
        DataError: it is damaged, or it was cut off, even between two members: it must end with a block of zeros.
    """
    count = 0
    try:
        with tarfile.open(file) as tar:
            for member in tar:
                stream = tar.extractfile(member) if member.isreg() else None
                if stream is not None:
                    count += 1
                    yield member, stream.read()
            assert tar.fileobj is not None
            tar.fileobj.seek(tar.offset)
            ended = tar.fileobj.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)
    except (tarfile.TarError, EOFError, OSError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{images.shown(file)}: cannot be read as a tar file ({why})") from error
    if not ended:
        raise DataError(
            f"{images.shown(file)}: truncated: it ends after {count} files without the mark at the end of a tar; "
            f"copy or download it again"
        )
