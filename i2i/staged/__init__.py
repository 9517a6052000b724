"""Networks that see the whole picture, in tiles: instance norm, SPADE, global means. The result is the same.

    i2i translate large.png -o out -m horse2zebra --tile 256

Tiles with a margin are not enough for such a network, as its norms need the mean and variance of the whole feature
map. So it is run stage by stage: each ends at a norm, is computed tile by tile, and is stored on the disk.

    record.py    run the network without pixels, and write down its operations
    rules.py     how a part of a map is computed from parts of the maps before it, for each operation
    choose.py    which rule an operation has
    resample.py  the weights of interpolation
    store.py     a feature map on the disk, and its statistics
    plan.py      which maps are stored, and the stages
    run.py       the stages of one picture, tile by tile
    tiler.py     `Staged`: the whole thing as a network
"""

from __future__ import annotations

from .record import Unsupported, record
from .tiler import Staged, why_not

__all__ = ["Staged", "Unsupported", "record", "why_not"]
