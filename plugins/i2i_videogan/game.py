"""What `videogan` and `video_prediction` share: one generator of clips against two discriminators.

The turns of a step, as in MoCoGAN (arXiv:1707.04993 section 3.3) and DVD-GAN (arXiv:1907.06571 section 3.2): first
"D_picture", which sees single frames, then "D_clip", which sees the motion, then "G".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from i2i import ConfigError, Task
from i2i.losses import Objective
from i2i.networks import Augmentation, augmented

Losses = dict[str, Tensor]


class Judge:
    """A discriminator as a function of clips or frames, given their labels; keeps what it says about classes.

    Args:
        network: [N, ...] and labels -> logits, or a pair of them and the logits of the classes.
        label: int64 [N], or None.
        augment: augmentations of the clips.

    Attributes:
        said: the logits of the classes, of each call.
    """

    def __init__(self, network: nn.Module, label: Tensor | None, augment: Sequence[Augmentation] = ()) -> None:
        self.network, self.label, self.augment = network, label, augment
        self.said: list[Tensor] = []

    def __call__(self, given: Tensor) -> Tensor:
        """Return the logits."""
        out = self.network(augmented_clips(given, self.augment), self.label)
        if isinstance(out, tuple):
            out, said = out
            self.said.append(said)
        return out


def augmented_clips(clip: Tensor, kinds: Sequence[Augmentation]) -> Tensor:
    """Return clips [N, T, C, H, W], each augmented at random, all its frames in the same way (arXiv:2006.10738)."""
    for kind in kinds:
        if kind == "colour":  # of channels, so frames lie below each other: [N, C, T * H, W]
            tall = augmented(clip.transpose(1, 2).flatten(2, 3), [kind])
            clip = tall.unflatten(2, (clip.shape[1], clip.shape[3])).transpose(1, 2)
        else:  # of places, so frames are channels: [N, T * C, H, W]
            clip = augmented(clip.flatten(1, 2), [kind]).unflatten(1, clip.shape[1:3])
    return clip


class ClipGame(Task):
    """Base class: the three players and their turns.

    Subclasses set `generator`, `picture_discriminator`, `clip_discriminator`, `gan`, `pictures_seen` (frames of a
    clip that the picture discriminator sees), `lambda_category`, and `augment` (of all clips that they see).
    """

    ema: ClassVar[tuple[str, ...]] = ("generator",)

    generator: nn.Module
    picture_discriminator: nn.Module
    clip_discriminator: nn.Module
    gan: Objective
    pictures_seen: int
    lambda_category: float = 1.0
    augment: Sequence[Augmentation] = ()

    def players(self) -> dict[str, list[nn.Module]]:
        """The generator and the two discriminators."""
        return {
            "G": [self.generator],
            "D_picture": [self.picture_discriminator],
            "D_clip": [self.clip_discriminator],
        }

    def turns(self, real: Tensor, fake: Tensor, label: Tensor | None, first: int = 0) -> Iterator[tuple[str, Losses]]:
        """Yield the turns of a step.

        Args:
            real: clips [N, T, C, H, W].
            fake: generated clips of the same shape, attached to the graph; all turns use these.
            label: int64 [N], or None.
            first: the first frame that the picture discriminator may see.
        """
        chosen = self.chosen(real, first), self.chosen(fake, first)
        judge = Judge(self.picture_discriminator, label, self.augment)
        losses = {"gan": self.gan.discriminator(judge, *chosen)}
        yield "D_picture", losses | self.category(judge, 0)

        judge = Judge(self.clip_discriminator, label, self.augment)
        losses = {"gan": self.gan.discriminator(judge, real, fake)}
        yield "D_clip", losses | self.category(judge, 0)

        losses = {}
        for name, network, a, b in (
            ("picture", self.picture_discriminator, self.chosen(fake, first), chosen[0]),
            ("clip", self.clip_discriminator, fake, real),
        ):
            judge = Judge(network, label, self.augment)
            losses[name] = self.gan.generator(judge, a, b)
            losses |= self.category(judge, -1, f"{name}_")
        yield "G", losses

    def category(self, judge: Judge, which: int, prefix: str = "") -> Losses:
        """Return the category loss of what a discriminator said about its classes, or {} if it says nothing.

        Args:
            judge: has judged real clips first and generated ones last.
            which: 0 for the real clips, from which D learns the classes; -1 for the generated ones.
            prefix: of the name of the loss.
        """
        if not judge.said or judge.label is None:
            return {}
        said = judge.said[which]
        label = judge.label.repeat_interleave(len(said) // len(judge.label))
        return {f"{prefix}category": self.lambda_category * cross_entropy(said, label)}

    def chosen(self, clip: Tensor, first: int = 0) -> Tensor:
        """Return `pictures_seen` random frames of each clip, in order of time: [N, K, C, H, W]."""
        n, frames = clip.shape[:2]
        order = torch.rand(n, frames - first, device=clip.device).argsort(1)[:, : self.pictures_seen]
        which = first + order.sort(1).values
        return clip[torch.arange(n, device=clip.device)[:, None], which]

    def balance(self, real: Tensor, fake: Tensor, label: Tensor | None) -> dict[str, float]:
        """Return how often each discriminator gives the real clip of a pair the higher logit, 0.5 to 1."""
        numbers = torch.arange(real.shape[1] - self.pictures_seen, real.shape[1], device=real.device)  # not random
        both = {
            "accuracy_picture": (Judge(self.picture_discriminator, label), real[:, numbers], fake[:, numbers]),
            "accuracy_clip": (Judge(self.clip_discriminator, label), real, fake),
        }
        return {name: ranked(judge(a), judge(b), len(real)) for name, (judge, a, b) in both.items()}


def ranked(on_real: Tensor, on_fake: Tensor, n: int) -> float:
    """Return the share of pairs of a real and a generated clip in which the real one has the higher mean logit.

    Ties count half.
    """
    real, fake = (logits.float().reshape(n, -1).mean(1) for logits in (on_real, on_fake))
    apart = real[:, None] - fake[None]
    return ((apart > 0).float().mean() + (apart == 0).float().mean() / 2).item()


def refuse_other_clips(
    batch: Mapping[str, Any], task: str, shapes: Mapping[str, tuple[int, ...]], classes: Sequence[str] = ()
) -> None:
    """Raise ConfigError unless a batch has the clips, and the labels if there are classes, that a task needs.

    The values of labels are for `refuse_other_labels`.

    Args:
        batch: must contain the clips, and "label" int64 [N] if there are classes.
        task: name of the task, for the message.
        shapes: by name of the entry, the shape of a clip: frames, channels, height, width.
        classes: the class names; empty if no labels are needed.
    """
    for name in (*shapes, *(["label"] if classes else [])):
        if name not in batch:
            instead = {"label": ", or task.classes=null", "A": ", or set data.given"}.get(name, "")
            raise ConfigError(
                f'{task} needs samples with "{name}", but these have {", ".join(sorted(batch))}: use another data '
                f"set{instead}"
            )
    for name, wanted in shapes.items():
        given = tuple(batch[name].shape[1:])
        if given != wanted:
            shown = [" x ".join(map(str, shape)) for shape in (wanted, given)]
            keys = ("task.frames", "task.channels", "task.size", "task.size")
            wrong = dict.fromkeys(key for key, a, b in zip(keys, wanted, given, strict=True) if a != b)
            raise ConfigError(
                f'{task} was built for clips "{name}" of {shown[0]} values (frames, channels, height, width) but the '
                f"data has {shown[1]}: change {' and '.join(wrong)} to match the data"
            )
