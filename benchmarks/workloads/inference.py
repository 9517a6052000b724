"""Inference on both sides: a plain network under no_grad, and i2i's `Model`, which is what `i2i.load` returns."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from i2i_pix2pix import Pix2Pix
from i2i_superres import SuperResolution
from reference import cyclegan as published_resnet
from reference import rrdb as published_rrdb
from reference import srresnet as published_srresnet
from torch import Tensor, nn

from i2i import Model, Task
from i2i.networks import MSRResNet, ResnetGenerator, RRDBNet

from .checks import Sides, Turn, copy, guard, no_grad, require_close, weights


@dataclass(frozen=True)
class Inference:
    """The translation of one image by the network of a task.

    Attributes:
        published: the module of the reference, with the counts of the published code.
        network: builds the plain network.
        task: builds i2i's task.
        name: of the network in the task.
        size: height and width of the image.
        low: the least value of the images that the plain network takes and gives, -1 or 0; the greatest is 1.
        note: what i2i does differently on purpose.
    """

    published: Any
    network: Callable[[], nn.Module]
    task: Callable[[], Task]
    name: str
    size: int
    low: float
    note: str = "i2i also checks the input and the result"

    kind: ClassVar[str] = "inference"

    def guard(self) -> dict[str, Any]:
        """Compare the network's parameters and FLOPs with the published ones; raises SystemExit if they differ."""
        with torch.device("meta"):
            network, image = self.network(), torch.empty(1, 3, self.size, self.size)
        published = self.published
        work = partial(no_grad, lambda: network(image))
        return guard([network], published.PARAMETERS[:1], work, published.INFERENCE_GFLOP)

    def both(self) -> Sides:
        """Build both sides with equal weights, check that they return the same, and return them."""
        network, model = self.plain(), self.model()
        copy(weights([network]), weights([getattr(model.task, self.name)]))
        image = self.image()
        given = self.scaled(image)
        expected = ((no_grad(lambda: network(given)) - self.low) / (1 - self.low)).clamp(0, 1)
        gap = float((model(image) - expected).abs().max())
        spread = float(expected.std())  # of an untrained network it may be small
        allowed = {"exact": 1e-4 * spread, "auto": 1e-4, "fast": 0.2 * spread}[os.environ.get("I2I_SPEED", "exact")]
        require_close(gap, allowed, "the results, in 0..1,")
        checked = {"results_differ_by": gap, "standard_deviation": spread}
        return Sides(lambda n: no_grad(lambda: network(given)), lambda n: model(image), checked)

    def one(self, side: str) -> Turn:
        """Build one side alone."""
        image = self.image()
        if side == "reference":
            network, given = self.plain(), self.scaled(image)
            return lambda n: no_grad(lambda: network(given))
        model = self.model()
        return lambda n: model(image)

    def plain(self) -> nn.Module:
        """Return the plain network with the weights of seed 0."""
        torch.manual_seed(0)
        return self.network().eval()

    def model(self) -> Model:
        """Return i2i's model."""
        return Model(self.task(), {}, Path("benchmark"))

    def image(self) -> Tensor:
        """Return an image [1, 3, size, size] in 0..1."""
        return torch.rand(1, 3, self.size, self.size, generator=torch.Generator().manual_seed(1))

    def scaled(self, image: Tensor) -> Tensor:
        """Return an image in 0..1 as the plain network takes it."""
        return image * (1 - self.low) + self.low

    def runtimes(self) -> dict[str, Turn]:
        """Return the same network in the runtimes that are installed: "onnxruntime", "openvino"."""
        built = {"onnxruntime": (onnxruntime, ("onnxruntime", "onnx")), "openvino": (openvino, ("openvino",))}
        return {
            name: build(self.plain(), self.scaled(self.image()))
            for name, (build, packages) in built.items()
            if all(map(importlib.util.find_spec, packages))
        }


def onnxruntime(network: nn.Module, image: Tensor) -> Turn:
    """Return the inference of a network in ONNX Runtime, on as many threads as torch uses."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "network.onnx")
        torch.onnx.export(network, (image,), file, dynamo=False)
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    given = {session.get_inputs()[0].name: image.numpy()}
    return lambda n: session.run(None, given)


def openvino(network: nn.Module, image: Tensor) -> Turn:
    """Return the inference of a network in OpenVINO, on as many threads as torch uses, in float32."""
    import openvino

    options = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.compile_model(openvino.convert_model(network, example_input=image), "CPU", options)
    given = image.numpy()
    return lambda n: compiled(given)


def resnet_inference(size: int = 256, width: int = 64, blocks: int = 9) -> Inference:
    """The generator of CycleGAN, one direction; in i2i with the task `pix2pix`, which has only one."""
    generator = partial(ResnetGenerator, width=width, blocks=blocks)
    network = partial(published_resnet.generator, width, blocks)
    return Inference(published_resnet, network, lambda: Pix2Pix(generator, test_mode="eval"), "G", size, -1.0)


def srresnet_inference(size: int = 64, width: int = 64, blocks: int = 16) -> Inference:
    """SRResNet without batch norm, x4; `size` is that of the input."""
    generator = partial(MSRResNet, width=width, blocks=blocks)
    network = partial(published_srresnet.MSRResNet, width, blocks)
    return Inference(published_srresnet, network, lambda: SuperResolution(generator), "G", size, 0.0)


def rrdb_inference(size: int = 64, width: int = 64, blocks: int = 23, growth: int = 32) -> Inference:
    """ESRGAN's generator, x4; `size` is that of the input."""
    generator = partial(RRDBNet, width=width, blocks=blocks, growth=growth)
    network = partial(published_rrdb.RRDBNet, width, blocks, growth)
    return Inference(published_rrdb, network, lambda: SuperResolution(generator), "G", size, 0.0)
