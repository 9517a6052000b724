"""Folders of very many files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from PIL import Image

FILES = 20_000
FIND = """
import resource, sys
from i2i.images import find
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found, skipped = find(sys.argv[1])
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(len(found), len(skipped), found == sorted(found), (after - before) // 1024)
"""


def test_B13_twenty_thousand_files_have_one_order_and_take_little_memory(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "one.png")
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(FILES):
        if number % 5_000 == 0:
            file = tmp_path / f"source{number}.png"  # a file has at most 65,000 links on some disks
            file.write_bytes((tmp_path / "one.png").read_bytes())
        os.link(file, folder / f"{number * 7919 % FILES:06}.png")
    done = subprocess.run([sys.executable, "-c", FIND, str(folder)], capture_output=True, text=True, timeout=55)
    assert done.returncode == 0, done.stderr
    found, skipped, in_order, megabytes = done.stdout.split()
    assert (int(found), int(skipped), in_order) == (FILES, 0, "True")
    assert int(megabytes) < 40
