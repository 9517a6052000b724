"""`i2i new NAME`: write a plugin package that installs, trains and passes its tests as it is.

i2i new glow
cd i2i-glow && pip install -e '.[test]' && pytest && i2i run configs/glow.yaml
"""

from __future__ import annotations

import keyword
import re
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer

from i2i import ConfigError, files

FILES = {
    "pyproject.toml": """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"
""",
    "setup.cfg": """\
[metadata]
name = i2i-{name}
version = 0.1.0

[options]
packages = i2i_{name}
install_requires = i2i

[options.extras_require]
test = pytest

[options.entry_points]
i2i =
    {name} = i2i_{name}
""",
    "README.md": """\
# i2i-{name}

A method for i2i. It comes as a small denoiser: replace `step` by your own.

    pip install -e '.[test]'
    pytest
    i2i run configs/{name}.yaml
    i2i translate PICTURES -o out -m runs/{name}
""",
    "i2i_{name}/__init__.py": '''\
"""{title}: takes the noise out of pictures. Replace this with your method and its paper.

    i2i run configs/{name}.yaml
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import l1_loss

from i2i import Network, Task, hookimpl
from i2i.modalities import Image


class {title}(Task):
    """Learns to undo Gaussian noise.

    Args:
        generator: network [N, 3, H, W] -> [N, 3, H, W] in [-1, 1].
        noise: standard deviation of the noise, in units of [-1, 1].
    """

    def __init__(self, generator: Network, noise: float = 0.2) -> None:
        super().__init__()
        self.G = generator()
        self.noise = noise
        self.takes = Image.of(self.G)  # padded and cropped as the network needs

    def players(self) -> dict[str, list[nn.Module]]:
        return {{"G": [self.G]}}

    def step(self, batch):
        clean = batch["A"]  # [N, 3, H, W] in [-1, 1]
        noisy = clean + self.noise * torch.randn_like(clean)
        yield "G", {{"l1": l1_loss(self.G(noisy), clean)}}

    def translate(self, image):
        return self.G(image)


@hookimpl
def register(catalog):
    catalog.task("{name}", {title})
''',
    "configs/{name}.yaml": """\
# {title} on the embedded horses. i2i run configs/{name}.yaml
task:
  use: {name}
  generator: {{use: resnet_generator, width: 16, blocks: 2}}
data: {{use: horses_zebras, size: 64, batch_size: 2}}
optimizer: {{use: adam, lr: 1.0e-3}}
train: {{steps: 60, log_every: 20, sample_every: 60}}
""",
    "tests/test_{name}.py": """\
import torch
from functools import partial

from i2i.networks import ResnetGenerator
from i2i.testing import check_task
from i2i_{name} import {title}


def test_it_keeps_the_contract():
    torch.manual_seed(0)
    task = {title}(partial(ResnetGenerator, width=8, blocks=1))
    check_task(task, {{"A": torch.rand(2, 3, 32, 32) * 2 - 1}})
""",
}


def new(
    name: Annotated[str, typer.Argument(help="A short name in lower case, as glow.")],
    out: Annotated[str, typer.Option("-o", "--out", help="The folder to make; i2i-NAME by default.")] = "",
) -> None:
    """Write a plugin package that installs and passes its tests as it is."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise ConfigError(
            f"'{name}' cannot name a plugin: use lower-case letters, digits and _, starting with a letter"
        )
    folder = Path(out or f"i2i-{name}")
    if folder.exists():
        raise ConfigError(f"{folder} is there already: choose another name, or another folder with -o")
    points = [point for group in ("i2i", "i2i.commands") for point in entry_points(group=group)]
    taken = {point.name: f"{point.dist.name} {point.dist.version}" for point in points if point.dist}
    if name in taken:
        raise ConfigError(f"'{name}' is a plugin or command of the installed {taken[name]}: choose another name")
    title = "".join(part.capitalize() for part in name.split("_"))
    for path, text in FILES.items():
        target = folder / path.format(name=name)
        files.make_folder(target.parent)
        files.write(target, text.format(name=name, title=title).encode())
    then = f"pip install -e '.[test]' && pytest && i2i run configs/{name}.yaml"
    print(f"{folder}: written; next: cd {folder} && {then}")
