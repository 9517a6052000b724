"""Do generated photographs fit their captions? An encoder trained on real ones ranks the right caption among others.

    metrics: [{use: caption_rank, extractor: squeezenet}]      # in a config whose data is captions

The encoder embeds pictures and captions in the same space: a linear map of the features of a fixed network, and one
of the words of a caption. It is trained with a contrastive loss on the training pictures and their captions,
separately from any generator, within a minute (1,500 pictures, squeezenet, one core), nearly all of it for the
features. On Flickr8k the right caption of 300 validation pictures then ranks first among 20 at 43 % (squeezenet) or
21 % (random_conv).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Literal
from weakref import WeakKeyDictionary

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout, normalize

from i2i import ConfigError, Data
from i2i.data import to_tensor
from i2i.metrics import Needs, answers, check_weights, device_of, features_of
from i2i.modalities import Image

from .captions import Captioned, Captions
from .text import to_text, words

Extractor = Literal["squeezenet", "vgg19", "random_conv"]

COMMON = 10  # captions that a word must occur in, fewer for small data sets
TEMPERATURE = 0.12
_matchers: WeakKeyDictionary[Data, dict[Any, Matcher]] = WeakKeyDictionary()


class CaptionRank:
    """How often the right caption of a generated picture ranks first among 20.

    A picture of each caption of the validation samples is generated. The other captions are drawn from those of the
    other samples; instead of drawing them at random, the expectation over all draws is computed.

    - `top1`: the share of generated pictures whose own caption ranks first; 1 is best.
    - `real/top1`: the same for the real pictures of these captions: the upper limit to expect.
    - `chance/top1`: the same for generated pictures with the captions of others; about 1 / `among`.

    Args:
        extractor: the features of pictures: "squeezenet", "vgg19", or "random_conv", which needs no weights file and
            captures only colours and textures.
        among: how many captions are ranked.
        weights_dir: another folder to search for the extractor's weights.

    Raises:
        WeightsError: the extractor's weights are missing; the message states where to get them.
        ConfigError: the data set is not `captions`, or has too few validation samples.

    Source:
        The protocol is the R-precision of AttnGAN, arXiv:1711.10485 section 4, with 20 captions instead of 100 and an
        encoder of our own, so scores do not compare with published ones.
    """

    needs = Needs(makes=Image, source=True, target=True)

    def __init__(
        self,
        extractor: Extractor = "random_conv",
        among: Annotated[int, Field(ge=2)] = 20,
        weights_dir: str | None = None,
    ) -> None:
        check_weights(extractor, weights_dir)
        self.extractor, self.among, self.weights_dir = extractor, among, weights_dir

    def refuse(self, task: Any, data: Data) -> None:
        """Raise ConfigError, before training, if the scores cannot be computed."""
        if not isinstance(data, Captions):
            raise ConfigError(
                f"caption_rank trains an encoder on pictures with captions, but the data is {type(data).__name__}: "
                f"use it with the data set captions, or remove it"
            )
        if len(data.used) < self.among:
            raise ConfigError(
                f"caption_rank ranks {self.among} captions, but there are {len(data.used)} validation samples: set "
                f"among to at most that"
            )

    def __call__(self, task: Any, data: Data) -> dict[str, float]:
        """Return the scores of a `Task` that translates captions, on `data.validation()`."""
        self.refuse(task, data)
        device, samples = str(device_of(task)), data.validation()
        matcher = self._matcher(data, device)
        captions = matcher.embed_captions([to_text(sample["text"]) for sample in samples])

        def embedded(images: Any) -> Tensor:
            return matcher.embed_pictures(features_of(images, self.extractor, self.weights_dir, device))

        fake = embedded(image for _, image in answers(task, data))
        real = embedded(sample["image"] for sample in samples)
        return {
            "top1": top1(fake @ captions.T, self.among),
            "real/top1": top1(real @ captions.T, self.among),
            "chance/top1": top1(fake.roll(1, 0) @ captions.T, self.among),
        }

    def _matcher(self, data: Any, device: str) -> Matcher:
        """Return the encoder, which is trained once per data set."""
        known, key = _matchers.setdefault(data, {}), (self.extractor, self.weights_dir)
        if key not in known:
            pictures = (to_tensor(pixels) for pixels in data.train.pixels)
            known[key] = trained(data.train, features_of(pictures, self.extractor, self.weights_dir, device).float())
        return known[key]


def top1(similarity: Tensor, among: int) -> float:
    """Return how often the caption of its own ranks first among those drawn at random: an expectation, exact.

    Args:
        similarity: of each picture to each caption, [M, M]; those on the diagonal belong together.
        among: how many captions are ranked, the right one included.
    """
    total = len(similarity) - 1  # of the other captions; those that are at least as similar must not be drawn
    better = (similarity >= similarity.diag()[:, None]).sum(1) - 1
    shares = [math.comb(total - int(count), among - 1) / math.comb(total, among - 1) for count in better]
    return sum(shares) / len(shares)


class Matcher(nn.Module):
    """Embeds pictures and captions so that those that belong together are similar.

    Args:
        captions: the training captions, from which the words and their weights are taken.
        features: those of the training pictures, float32 [N, D], from which mean and scale are taken.
        width: length of an embedding.
    """

    mean: Tensor
    scale: Tensor
    rarity: Tensor

    def __init__(self, captions: Sequence[str], features: Tensor, width: int = 128) -> None:
        super().__init__()
        counts = Counter(word for caption in captions for word in set(words(caption)))
        common = max(1, min(COMMON, len(captions) // 500))
        known = sorted(word for word, count in counts.items() if count >= common)
        self.number = {word: n for n, word in enumerate(known)}
        self.register_buffer("rarity", torch.tensor([math.log(len(captions) / counts[word]) for word in known]))
        self.register_buffer("mean", features.mean(0))
        self.register_buffer("scale", features.std(0) + 1e-6)
        self.picture, self.caption = nn.Linear(features.shape[1], width), nn.Linear(len(known), width)

    def bags(self, captions: Sequence[str]) -> Tensor:
        """Return the words of captions, weighted by rarity (tf-idf) and normalised: [N, V]; others are left out."""
        found = torch.zeros(len(captions), len(self.number))
        for row, caption in zip(found, captions, strict=True):
            row[[self.number[word] for word in words(caption) if word in self.number]] = 1
        return normalize(found * self.rarity)

    @torch.no_grad()
    def embed_pictures(self, features: Tensor) -> Tensor:
        """Return embeddings [N, width] of length 1 of the features of pictures [N, D]."""
        return normalize(self.picture((features.float() - self.mean) / self.scale))

    @torch.no_grad()
    def embed_captions(self, captions: Sequence[str]) -> Tensor:
        """Return embeddings [N, width] of length 1 of captions."""
        return normalize(self.caption(self.bags(captions)))


def trained(train: Captioned, features: Tensor, steps: int = 300, batch: int = 256) -> Matcher:
    """Return a matcher trained to find the caption of each picture in a batch, and the picture of each caption.

    Args:
        train: pictures and captions.
        features: those of the pictures, float32 [N, D].
        steps: how long; more overfit 1,500 pictures.
        batch: pictures per step, each with one of its captions.
    """
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        torch.manual_seed(0)
        captions = [to_text(torch.from_numpy(codes)) for codes in train.codes]
        matcher = Matcher(captions, features.clone())
        bags, inputs = matcher.bags(captions), (features - matcher.mean) / matcher.scale
        first, number = torch.from_numpy(train.first[:-1]), torch.from_numpy(train.first[1:] - train.first[:-1])
        optimizer = torch.optim.AdamW(matcher.parameters(), weight_decay=0.3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
        for _ in range(steps):
            at = torch.randperm(len(inputs))[:batch]
            own = first[at] + (torch.rand(len(at)) * number[at]).long()
            pictures = normalize(matcher.picture(dropout(inputs[at], 0.6)))
            others = normalize(matcher.caption(dropout(bags[own], 0.3)))
            logits, right = pictures @ others.T / TEMPERATURE, torch.arange(len(at))
            loss = cross_entropy(logits, right) + cross_entropy(logits.T, right)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return matcher.eval().requires_grad_(False)
