"""The task `video_prediction`: the next frames of a clip, from its first ones. Video as image-to-image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import torch
from annotated_types import Ge
from pydantic import PositiveInt
from torch import Tensor
from torch.nn.functional import l1_loss

from i2i import ConfigError, DataError, Loss, Network
from i2i.errors import counted
from i2i.images import pad_to_multiple
from i2i.modalities import Clip

from .game import ClipGame, refuse_other_clips

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


class VideoPrediction(ClipGame):
    """A predictor of frames, trained with L1 and against a discriminator of pictures and one of clips.

    Players: "D_picture", which sees predicted frames and real ones of the same period, "D_clip", which sees them
    after the given frames, then "G".

    Args:
        generator: network (channels, frames to predict): given frames [N, K, C, H, W] -> the next ones.
        picture_discriminator, clip_discriminator, gan: as for `videogan`, without classes.
        given: frames that are given, K.
        frames: frames of a clip, the given ones included.
        pictures: how many random predicted frames of each clip the picture discriminator sees.
        channels: 1 for grey, 3 for colour.
        size: height and width of training clips, in pixels.
        lambda_l1: weight of the mean absolute error.
        lambda_gan: weight of the two adversarial losses of G.

    Source: L1 and an adversarial loss as in pix2pix, arXiv:1611.07004 eq. 4; discriminators as in arXiv:1907.06571.
    """

    def __init__(
        self,
        generator: Network,
        picture_discriminator: Network,
        clip_discriminator: Network,
        gan: Loss,
        given: PositiveInt = 4,
        frames: PositiveInt = 16,
        pictures: PositiveInt = 1,
        channels: PositiveInt = 3,
        size: PositiveInt = 64,
        lambda_l1: Annotated[float, Ge(0)] = 100.0,
        lambda_gan: Annotated[float, Ge(0)] = 1.0,
    ) -> None:
        super().__init__()
        if given + pictures > frames:
            raise ConfigError(
                f"video_prediction: given={given} of frames={frames} leaves fewer than pictures={pictures} frames to "
                f"predict: change one of them"
            )
        self.given, self.predicted, self.pictures_seen = given, frames - given, pictures
        self.channels, self.size = channels, size
        self.generator = generator(channels, frames - given)
        self.picture_discriminator = picture_discriminator(channels, size, 0)
        self.clip_discriminator = clip_discriminator(channels, size, frames, 0)
        self.gan, self.lambda_l1, self.lambda_gan = gan(), lambda_l1, lambda_gan
        self.takes = Clip(channels=channels)
        self.makes = Clip(channels=channels, frames=frames - given)

    def step(self, batch: dict[str, Any]) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Train on `A` [N, given, C, H, W] and `B`, the frames after them, in [-1, 1]."""
        given, wanted = self._given(batch)
        made = self.generator(given)
        real, fake = torch.cat([given, wanted], 1), torch.cat([given, made], 1)
        error = {"l1": self.lambda_l1 * l1_loss(made, wanted)}
        for player, losses in self.turns(real, fake, None, self.given):
            if player == "G":
                losses = {name: self.lambda_gan * loss for name, loss in losses.items()} | error
            yield player, losses

    def _given(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Return the given frames and the others of a batch; raise ConfigError if they do not fit."""
        shape = self.channels, self.size, self.size
        refuse_other_clips(batch, "video_prediction", {"A": (self.given, *shape), "B": (self.predicted, *shape)})
        return batch["A"], batch["B"]

    def translate(self, clip: Tensor) -> Tensor:
        """Return the frames that follow the last `given` frames of clips [N, T, 1 or 3, H, W] of any size.

        Raises:
            DataError: the clips are shorter.
        """
        if clip.shape[1] < self.given:
            raise DataError(
                f"too short, {counted(clip.shape[1], 'frame')}: this model predicts from the last "
                f"{self.given}; use a longer clip"
            )
        last = self._coloured(clip[:, -self.given :])
        padded, crop = pad_to_multiple(last.flatten(0, 1), getattr(self.generator, "multiple", 1))
        made = self.generator(padded.unflatten(0, last.shape[:2]))
        return crop(made.flatten(0, 1), 1).unflatten(0, made.shape[:2])

    def _coloured(self, clip: Tensor) -> Tensor:
        """Return clips [N, T, 1 or 3, H, W] with the channels of the networks."""
        if self.channels == 1 and clip.shape[2] == 3:
            return (clip * clip.new_tensor(LUMA)[:, None, None]).sum(2, keepdim=True)
        return clip.expand(-1, -1, self.channels, -1, -1)

    def validate(self, batch: dict[str, Any]) -> dict[str, float]:
        """Return the mean absolute error, and how often each discriminator ranks the real clip of a pair higher."""
        given, wanted = self._given(batch)
        made = self.generator(given)
        real, fake = torch.cat([given, wanted], 1), torch.cat([given, made], 1)
        return {"l1": l1_loss(made, wanted).item()} | self.balance(real, fake, None)

    def pictures(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Real clips, and the given frames followed by the predicted ones."""
        given, wanted = self._given(batch)
        return {"real": torch.cat([given, wanted], 1), "predicted": torch.cat([given, self.translate(given)], 1)}
