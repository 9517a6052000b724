"""Inception-v3 as FID is defined on it: the official weights, and the resizing of TensorFlow 1.

    i2i evaluate samples photographs --metrics fid,inception_score      # pip install 'i2i[metrics]'
    metrics: [{use: fid}, {use: kid, extractor: inception}]

The network is that of the package torch-fidelity, which agrees with the reference implementation. Its weights are not
downloaded: the file must exist locally (see `i2i.losses.pretrained`), and its hash is checked.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from pydantic import PositiveInt
from torch import Tensor

from ..data.base import Data
from ..devices import chosen
from ..errors import ConfigError, DataError, WeightsError
from ..losses.pretrained import Weights
from ..losses.torchvision_guard import import_torchvision
from ..modalities import Image
from .base import Needs, batches
from .sets import Frechet, made_by, truth_of

INCEPTION = Weights(
    "weights-inception-2015-12-05-6726825d.pth",
    "the Inception-v3 of FID, converted by torch-fidelity",
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    "6726825d",
)
FEATURES, LOGITS = "2048", "logits_unbiased"


def check(weights_dir: str | None = None) -> None:
    """Raise WeightsError without the weights file, and ConfigError if only torch-fidelity is missing."""
    try:
        INCEPTION.find(weights_dir)
    except WeightsError as error:
        try:
            package()
        except ConfigError as another:
            raise WeightsError(f"{error}; besides, {another}") from error
        raise
    package()


def package() -> Any:
    """Return the module of the network.

    Raises:
        ConfigError: torch-fidelity is not installed.
    """
    try:
        import_torchvision()
        from torch_fidelity import feature_extractor_inceptionv3
    except ImportError as error:
        raise ConfigError(
            "Inception needs the package torch-fidelity: pip install 'i2i[metrics]', or use another extractor"
        ) from error
    return feature_extractor_inceptionv3


@functools.lru_cache(1)
def network(weights_dir: str | None, device: str) -> Any:
    """Return the frozen network: uint8 [N, 3, H, W] -> (features [N, 2048], logits [N, 1008] without bias)."""
    kind = package().FeatureExtractorInceptionV3
    with torch.inference_mode(False), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kind("inception", [FEATURES, LOGITS], str(INCEPTION.find(weights_dir))).to(device)


def outputs(images: Iterable[Tensor], weights_dir: str | None = None, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Return the features [N, 2048] and the logits [N, 1008] without bias, float64 on the CPU.

    Args:
        images: [1 or 3, H, W] in [-1, 1], of any sizes; rounded to 8 bits, as FID is computed on files.
        weights_dir: additional folder to search for the weights file.
        device: device to run on.
    """
    found = []
    with torch.no_grad():
        for some in batches(images, 1):  # the sizes may differ
            image = (some[0].expand(3, -1, -1).clamp(-1, 1) + 1).mul(127.5).round().byte()
            found.append(network(weights_dir, device)(image[None].to(device)))
    features, logits = (torch.cat(column).double().cpu() for column in zip(*found, strict=True))
    return features, logits


class FID(Frechet):
    """Fréchet Inception Distance, as published: `frechet` with the official Inception.

    It decreases with the number of images; papers use 10,000 to 50,000, and scores for other numbers do not compare.

    Args:
        weights_dir: another folder to search for the weights.

    Raises:
        WeightsError: the weights are missing; the message states where to get them.
        ConfigError: torch-fidelity is missing, or there are fewer than two validation samples.

    Source:
        Heusel et al., arXiv:1706.08500, eq. 6.
    """

    def __init__(self, weights_dir: str | None = None) -> None:
        super().__init__("inception", weights_dir)


class InceptionScore:
    """exp of the mean KL divergence between the classes of an image and those of all: `mean` over splits, and `std`.

    Higher is better. It says nothing about images unlike ImageNet, and the real images are not used.

    Args:
        splits: parts over which mean and standard deviation are taken; papers use 10.
        weights_dir: another folder to search for the weights.

    Raises:
        WeightsError, ConfigError: as `FID`.

    Source:
        Salimans et al., arXiv:1606.03498, section 4; order of the images as in torch-fidelity.
    """

    needs = Needs(makes=Image)

    def __init__(self, splits: PositiveInt = 10, weights_dir: str | None = None) -> None:
        check(weights_dir)
        self.splits, self.weights_dir = splits, weights_dir

    def refuse(self, task: Any, data: Data) -> None:
        """Raise ConfigError unless each split gets an image."""
        truth_of(task, data)
        if len(data.validation()) < self.splits:
            raise ConfigError(
                f"inception_score needs at least one image in each of {self.splits} splits, but there are "
                f"{len(data.validation())} validation samples: use more, or fewer splits"
            )

    def __call__(self, task: Any, data: Data) -> dict[str, float]:
        """Return the score of what a `Task` makes for `data.validation()`."""
        return self.between(made_by(task, data), ())

    def between(self, fake: Iterable[Tensor], real: Iterable[Tensor]) -> dict[str, float]:
        """Return the score of the first images, [1 or 3, H, W] in [-1, 1]."""
        logits = outputs(fake, self.weights_dir, str(chosen()))[1]
        n = len(logits)
        if n < self.splits:
            raise DataError(f"inception_score needs at least one image in each of {self.splits} splits, but has {n}")
        logits = logits[np.random.RandomState(2020).permutation(n)]
        p, log_p = logits.softmax(1), logits.log_softmax(1)
        parts = [slice(at * n // self.splits, (at + 1) * n // self.splits) for at in range(self.splits)]
        scores = torch.stack([(p[at] * (log_p[at] - p[at].mean(0).log())).sum(1).mean().exp() for at in parts])
        return {"mean": scores.mean().item(), "std": scores.std(correction=0).item()}

    def protocol(self) -> str:
        """Return what is measured."""
        return f"of the first folder only, mean and deviation over {self.splits} splits"
