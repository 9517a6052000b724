"""The task `relief`, image -> normals and depth, and the metric `relief`, which compares both with the truth.

One network predicts both. The third loss ties them together: where the true surface is smooth, the slope of the depth
must match the normals.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.nn.functional import interpolate, l1_loss, normalize

from i2i import ConfigError, Data, Model, Network, Task, images
from i2i.metrics import device_of
from i2i.modalities import Image

Weight = Annotated[float, Ge(0)]
What = Literal["normals", "depth"]


class Relief(Task):
    """A network that predicts the normals and the depth of the surface in an image.

    Coordinates: x points right, y up, z towards the viewer, who looks straight down the z axis; the longer side of
    the image is 2. Depth is z, larger is nearer; normals (x, y, z) have unit length, and z is never negative.

    Args:
        generator: network [N, 3, H, W] -> [N, 4, H, W] in [-1, 1]; the task sets its `out_channels`.
        lambda_normals: weight of the distance between normals.
        lambda_depth: weight of the distance between depths.
        lambda_agree: weight of the consistency between the two.
    """

    ema: ClassVar[tuple[str, ...]] = ("G",)

    def __init__(
        self,
        generator: Network,
        lambda_normals: Weight = 1.0,
        lambda_depth: Weight = 1.0,
        lambda_agree: Weight = 0.1,
    ) -> None:
        super().__init__()
        self.G = generator(out_channels=4)
        self.lambda_normals, self.lambda_depth, self.lambda_agree = lambda_normals, lambda_depth, lambda_agree
        self.takes = Image.of(self.G)
        self.makes = Image(colour=True)  # normals are no greys, even those of a grey drawing

    def players(self) -> dict[str, list[nn.Module]]:
        """A single network."""
        return {"G": [self.G]}

    def surface(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return unit normals [N, 3, H, W] and depth [N, 1, H, W] in [-1, 1] of images [N, 3, H, W]."""
        out = self.G(image)
        return normalize(torch.cat([out[:, :2], out[:, 2:3] + 1.01], 1), dim=1), out[:, 3:]

    def step(self, batch: dict[str, Any]) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Train on images `A` [N, 3, H, W], their normals `B` [N, 3, H, W] and `depth` [N, 1, H, W]."""
        normals, depth = self.surface(batch["A"])
        # The chord between unit vectors: close to their angle, and unlike 1 - cos not flat for small ones.
        chord = ((normals - batch["B"]).square().sum(1) + 1e-6).sqrt().mean()
        # Where the truth departs from its tangent plane, at walls, the prediction should depart equally.
        agree = l1_loss(departure(normals, depth), departure(batch["B"], batch["depth"]))
        yield (
            "G",
            {
                "normals": self.lambda_normals * chord,
                "depth": self.lambda_depth * l1_loss(depth, batch["depth"]),
                "agree": self.lambda_agree * agree,
            },
        )

    def translate(self, image: Tensor, what: What = "normals") -> Tensor:
        """Translate images [N, 3, H, W] in [-1, 1] into normals or depth.

        Args:
            what: "normals", the usual normal map [N, 3, H, W], or "depth" [N, 1, H, W], brighter is nearer.

        Raises:
            ConfigError: `what` is neither.
        """
        if what not in ("normals", "depth"):
            raise ConfigError(f"unknown what '{what}': use normals or depth")
        normals, depth = self.surface(image)
        return normals if what == "normals" else depth

    def pictures(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """The image, and predictions next to the truth."""
        normals, depth = self.surface(batch["A"])
        return {
            "A": batch["A"],
            "normals": normals,
            "true normals": batch["B"],
            "depth": depth,
            "true depth": batch["depth"],
        }


def departure(normals: Tensor, depth: Tensor) -> Tensor:
    """Return how far each neighbour of a pixel lies off the tangent plane, relative to the pixel pitch.

    Args:
        normals: [N, 3, H, W], unit length.
        depth: [N, 1, H, W], in units of half the longer side.

    Returns:
        [N, 2, H - 1, W - 1]: for the right and the upper neighbour; 0 where the depth's slope matches the normals.
    """
    pixels = max(depth.shape[-2:]) / 2  # per unit of length
    here, right, above = (slice(1, None), slice(-1)), (slice(1, None), slice(1, None)), (slice(-1), slice(-1))
    found = []
    for axis, (rows, columns) in enumerate((right, above)):
        n = (normals[..., here[0], here[1]] + normals[..., rows, columns]) / 2
        climb = (depth[..., rows, columns] - depth[..., here[0], here[1]]) * pixels
        found.append(n[:, axis : axis + 1] + n[:, 2:] * climb)
    return torch.cat(found, 1)


class ReliefError:
    """Compares the normals and the depth predicted by a `relief` task with the true ones.

    For shaded images ("shaded/..."), line drawings ("lines/...") and all images; 0 is best, and 1 relative to a flat
    plane is no better than one:

    - `angle`, `angle_median`: between predicted and true normals, in degrees, over all pixels of all images.
    - `flat`: the mean angle if every normal pointed at the viewer. `angle_of_flat` is angle / flat.
    - `depth`: root mean square error, in units of half the image's width, after the best-fitting scale (not below 0)
      and shift for each image; `depth_of_flat` is that error relative to a flat plane's.

    Raises:
        ConfigError: another task, or validation samples without the truth.

    Example:
        `ReliefError()(task, data)["shaded/angle_of_flat"]`
    """

    def refuse(self, task: Task, data: Data) -> None:
        """Raise ConfigError as above, before a training."""
        samples = data.validation()
        if not isinstance(task, Relief) or not len(samples) or not {"A", "B", "depth"} <= samples[0].keys():
            raise ConfigError(
                f"the metric relief needs the task relief and samples of A, B (normals) and depth; this is "
                f"{type(task).__name__} on {type(data).__name__}: use both, or another metric"
            )

    def __call__(self, task: Task, data: Data) -> dict[str, float]:
        """Return the scores on `data.validation()`."""
        self.refuse(task, data)
        assert isinstance(task, Relief)
        samples = data.validation()
        rows: dict[str, list[tuple[Tensor, ...]]] = {"": []}
        for sample in (samples[i] for i in range(len(samples))):
            row = compared(task, sample)
            rows[""].append(row)
            if "lines" in sample:
                rows.setdefault("lines/" if sample["lines"] else "shaded/", []).append(row)
        return {f"{look}{name}": value for look, some in rows.items() for name, value in scores(some).items()}


def compared(task: Relief, sample: dict[str, Any]) -> tuple[Tensor, ...]:
    """Return for each pixel of a sample [H * W]: angle and flat angle in degrees, squared errors of both depths."""
    device = device_of(task)
    batch, undo = task.takes.fit({"A": sample["A"][None].to(device)}, "A")
    with torch.no_grad():
        normals, depth = (undo(x, task.makes, "Relief.surface")[0].float().cpu() for x in task.surface(batch["A"]))
    truth = sample["B"]
    level, found = (d.flatten() - d.mean() for d in (sample["depth"], depth))
    scale = ((found * level).sum() / found.square().sum().clamp_min(1e-12)).clamp_min(0)  # least squares
    return (
        angle(normals, truth),
        angle(truth.new_tensor([0, 0, 1])[:, None, None], truth),
        *(error.square() for error in (scale * found - level, level)),
    )


def angle(a: Tensor, b: Tensor) -> Tensor:
    """Return the angles in degrees between unit vectors [3, H, W], accurate for small ones too: [H * W]."""
    return (2 * torch.rad2deg(torch.atan2((a - b).norm(dim=0), (a + b).norm(dim=0)))).flatten()


def scores(rows: list[tuple[Tensor, ...]]) -> dict[str, float]:
    """Return the scores of `ReliefError` over some images."""
    angles, flat, errors, plane = (torch.cat(column).double() for column in zip(*rows, strict=True))
    return {
        "angle": angles.mean().item(),
        "angle_median": angles.median().item(),
        "flat": flat.mean().item(),
        "angle_of_flat": (angles.mean() / flat.mean()).item(),
        "depth": errors.mean().sqrt().item(),
        "depth_of_flat": (errors.mean() / plane.mean()).sqrt().item(),
    }


def surface_of(model: Model, picture: Any, size: int | None = None) -> tuple[Any, Any, Any]:
    """Return normals float32 [H, W, 3], depth float32 [H, W] and colours uint8 [H, W, 3] of an image.

    Args:
        model: a trained `relief`.
        picture: anything `i2i.images.take` accepts.
        size: pixels of the longer side after resizing; None keeps the size.
    """
    tensor = images.take(picture).tensor
    longer = max(tensor.shape[2:])
    if size is not None and size != longer:
        shape = [max(1, round(side * size / longer)) for side in tensor.shape[2:]]
        tensor = interpolate(tensor, shape, mode="bilinear", antialias=True)
    unit = ((tensor + 1) / 2).clamp(0, 1)
    normals, depth = (model(unit, what=what)[0] * 2 - 1 for what in ("normals", "depth"))
    return normals.permute(1, 2, 0).numpy(), depth[0].numpy(), images.to_uint8(tensor)[0]
