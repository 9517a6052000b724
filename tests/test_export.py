"""Exported files: the results of i2i in ONNX Runtime and torch.export, or an error that says where they differ."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import i2i
from i2i import config
from i2i.cli import app
from i2i.errors import ConfigError, DataError, I2IError, NumericError, PluginError, WeightsError
from i2i.model import Model
from i2i.plugins import registry

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from i2i_export import graph, recorded, writing  # noqa: E402
from i2i_export.compare import layers_of, sizes  # noqa: E402
from i2i_export.contract import Contract  # noqa: E402


def upscaler(net: str, **options: Any) -> dict[str, Any]:
    return {"use": "superres", "generator": {"use": net, **options}}


def sampler(net: str, latent: int = 8, **options: Any) -> dict[str, Any]:
    generator = {"use": f"{net}_generator", **options}
    discriminator = {"use": "dcgan_discriminator", "width": 4}
    parts = {"generator": generator, "discriminator": discriminator, "gan": {"use": "hinge"}}
    return {"use": "gan", **parts, "latent": latent, "size": 32, "classes": 3}


def painter(**options: Any) -> dict[str, Any]:
    generator = {"use": "spade_generator", "width": 4, "size": 32, "hidden": 4, "upsampling": "normal"}
    return {"use": "spade", "generator": generator, "classes": 5, **options}


def changer(use: str, net: str, **options: Any) -> dict[str, Any]:
    test = {} if use == "cyclegan" else {"test_mode": "eval"}
    return {"use": use, **test, "generator": {"use": net, "width": 4, **options}}


FAMILIES = {
    "resnet": changer("cyclegan", "resnet_generator", blocks=1),
    "resnet_cut": changer(
        "pix2pix", "resnet_generator", blocks=1, norm="batch", upsample="bilinear", downsample="blur", padding="zeros"
    ),
    "resnet_masked": changer("cyclegan", "resnet_generator", blocks=1, upsample="resize", masked=True, chroma=0.5),
    "unet": changer("pix2pix", "unet_generator", downs=4),
    "unet_as_published": changer("pix2pix", "unet_generator", downs=4, dropout=0.0) | {"test_mode": "train"},
    "colorization": changer("colorization", "unet_generator", downs=3, in_channels=1, out_channels=2),
    "colorful": {"use": "colorful", "generator": {"use": "colour_unet", "width": 4}, "work_size": 64},
    "spade": painter(ignore=255, edges=True),
    "spade_code": painter(z=4),
    "spade_style": painter(encoder={"use": "style_encoder", "width": 4, "z": 4, "size": 16}),
    "srresnet": upscaler("srresnet", scale=2, width=4, blocks=1),
    "msrresnet": upscaler("msrresnet", scale=3, width=4, blocks=1),
    "edsr": upscaler("edsr", scale=2, width=4, blocks=1),
    "rrdbnet": upscaler("rrdbnet", scale=2, width=4, blocks=1, growth=4),
    "carn_m": upscaler("carn_m", scale=2, width=4, groups=2),
    "compact_sr": upscaler("compact_sr", scale=2, width=4),
    "srvgg": upscaler("srvgg", scale=2, width=4),
    "span": upscaler("span", scale=2, width=4),
    "rlfn": upscaler("rlfn", scale=2),
    "dense": sampler("dense"),
    "dcgan": sampler("dcgan", width=4),
    "sagan": sampler("sngan", width=4, attention=16, spectral_norm=True),
    "biggan": sampler("biggan", latent=40, width=4, widest=2, attention=16),
}
IN_TORCH = ("resnet", "unet_as_published", "colorful", "dcgan")  # torch.export takes seconds for each


def built(task: dict[str, Any], name: str = "toy") -> Model:
    """Return a model with random weights, and statistics of batch norm that are not those of a new network."""
    tree, build = config.task_of(config.dump({"task": task}), "toy", registry().catalog, [])
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = build()
        for module in made.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
    return Model(made, tree, Path(f"{name}.safetensors"), "exact")


def picture(height: int, width: int, mode: str = "RGB") -> Image.Image:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (height // 4 + 1, width // 4 + 1, len(mode)), dtype=np.uint8)
    pixels = coarse.repeat(4, 0).repeat(4, 1)[:height, :width]
    return Image.fromarray(pixels if len(mode) > 1 else pixels[..., 0])


def levels_apart(one: Any, other: Any) -> int:
    a, b = (np.asarray(x).astype(int) for x in (one, other))
    assert a.shape == b.shape
    return int(np.abs(a - b).max())


def exported(model: Model, path: Path, **condition: Any) -> Model:
    writing.write_onnx(model, path, condition, half=False)
    return i2i.load(path, device="cpu", speed="exact")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_gives_the_results_of_i2i_through_its_own_border(family: str, tmp_path: Path) -> None:
    model = built(FAMILIES[family])
    again = exported(model, tmp_path / "model.onnx")
    if recorded.samples(model.task):
        assert torch.allclose(again.sample(3, seed=2, label=1), model.sample(3, seed=2, label=1), atol=1e-4)
        assert torch.allclose(again.sample(3, seed=2), model.sample(3, seed=2), atol=1e-4)
    elif model.task.takes.name == "label map":
        labels = np.random.default_rng(0).integers(0, 5, (9, 13)).repeat(5, 0).repeat(5, 1)
        assert (
            levels_apart(
                again(Image.fromarray(labels.astype(np.uint8))), model(Image.fromarray(labels.astype(np.uint8)))
            )
            <= 1
        )
        with pytest.raises(DataError, match="class 77, but the model knows"):
            again(labels + 77 - labels.max())
    else:
        for mode, size in (("RGB", (37, 53)), ("RGBA", (70, 90)), ("L", (41, 32))):
            assert levels_apart(again(picture(*size, mode)), model(picture(*size, mode))) <= 1


@pytest.mark.parametrize("family", IN_TORCH)
def test_torch_export_gives_the_results_of_i2i(family: str, tmp_path: Path) -> None:
    model, path = built(FAMILIES[family]), tmp_path / "model.pt2"
    assert "equal to i2i within" in writing.write_program(model, path, {}, half=False)
    note: dict[str, str] = {"i2i.json": ""}
    program = torch.export.load(io.BytesIO(path.read_bytes()), extra_files=note)
    contract = Contract.read(json.loads(note["i2i.json"]))
    noise = torch.Generator().manual_seed(0)
    if contract.takes == "codes":
        given: tuple[torch.Tensor, ...] = (
            torch.randn(5, contract.latent, generator=noise),
            torch.tensor([0, 1, 2, 0, 1]),
        )
        wanted = model.task.decode(*given)
    else:
        height, width = sizes(contract)[1]
        values = torch.rand(2, 3, height, width, generator=noise) * 2 - 1
        given = (
            torch.randint(5, (2, 1, height, width), generator=noise) if contract.takes == "label map" else values,
        )
        wanted = model.task.translate(*given)
    assert (program.module()(*given) - wanted.clamp(-1, 1)).abs().max() < 2e-4


def test_a_style_drawn_from_a_seed_is_a_constant_of_the_torch_export_file(tmp_path: Path) -> None:
    model, path = built(FAMILIES["spade_code"]), tmp_path / "model.pt2"
    writing.write_program(model, path, {}, half=False)
    program = torch.export.load(path)
    assert not [node for node in program.graph.nodes if "rand" in str(node.target)]
    labels = torch.randint(5, (2, 1, 64, 96), generator=torch.Generator().manual_seed(0))
    assert (program.module()(labels) - model.task.translate(labels).clamp(-1, 1)).abs().max() < 1e-6


def test_a_model_that_draws_other_numbers_each_time_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = built(FAMILIES["compact_sr"])
    right = type(model.task).translate

    def noisy(self: Any, image: torch.Tensor) -> torch.Tensor:
        return right(self, image + 1e-9 * torch.rand_like(image))

    monkeypatch.setattr(type(model.task), "translate", noisy)
    for write, operation in ((writing.write_onnx, "RandomUniformLike"), (writing.write_program, "rand_like")):
        with pytest.raises(ConfigError, match=rf"draws random numbers \({operation}\)"):
            write(model, tmp_path / "x", {}, half=False)
    assert not list(tmp_path.iterdir())


def test_a_weights_file_in_torch_export_format_is_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    writing.write_program(built(FAMILIES["compact_sr"]), path, {}, half=False)
    with pytest.raises(WeightsError, match=r"is a file of torch\.export, which can contain code"):
        i2i.load(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="damaged"):
        i2i.load(path)


@pytest.mark.parametrize(
    "name", ["upscale-x2", "upscale-x4", "horse2zebra", "restore", "colorize", "digits", "digits-vae"]
)
def test_bundled_models(name: str, tmp_path: Path) -> None:
    again, model = exported(i2i.load(name, device="cpu"), tmp_path / "x.onnx"), i2i.load(name, device="cpu")
    if recorded.samples(model.task):
        assert torch.allclose(again.sample(4, seed=5), model.sample(4, seed=5), atol=1e-4)
    else:
        assert levels_apart(again(picture(150, 131)), model(picture(150, 131))) <= 1
    properties = {one.key: one.value for one in onnx.load(tmp_path / "x.onnx").metadata_props}
    assert Contract.read(properties).licence == "Apache-2.0"
    assert properties["i2i.range"] == "[-1, 1]"


def test_a_chain_is_one_file_with_the_results_of_the_chain_at_odd_sizes(tmp_path: Path) -> None:
    chain = i2i.load("restore | upscale-x2", device="cpu", speed="exact")
    again = exported(chain, tmp_path / "both.onnx")
    for size in ((37, 53), (1, 1), (64, 64)):
        assert levels_apart(again(picture(*size)), chain(picture(*size))) <= 1
    two = [picture(41, 59), picture(41, 59).transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    for made, wanted in zip(again(two), chain(two), strict=True):
        assert levels_apart(made, wanted) <= 1


def test_samples_of_a_chain(tmp_path: Path) -> None:
    chain = i2i.load("digits | upscale-x2", device="cpu", speed="exact")
    again = exported(chain, tmp_path / "large.onnx")
    made, wanted = again.sample(2, seed=1, label=7), chain.sample(2, seed=1, label=7)
    assert made.shape == wanted.shape
    assert torch.allclose(made, wanted, atol=1e-4)


def test_conditions_become_part_of_the_file(tmp_path: Path) -> None:
    model = built(FAMILIES["resnet"])
    again = exported(model, tmp_path / "back.onnx", direction="BtoA")
    assert levels_apart(again(picture(40, 40)), model(picture(40, 40), direction="BtoA")) <= 1
    assert levels_apart(again(picture(40, 40)), model(picture(40, 40))) > 1
    styled, style = built(FAMILIES["spade_style"]), picture(30, 30)
    again = exported(styled, tmp_path / "styled.onnx", style=style)
    labels = np.arange(32 * 32).reshape(32, 32) % 5
    assert (
        levels_apart(
            *(m(Image.fromarray(labels.astype(np.uint8)), **k) for m, k in ((again, {}), (styled, {"style": style})))
        )
        <= 1
    )
    with pytest.raises(ConfigError, match="no such condition"):
        writing.write_onnx(model, tmp_path / "x.onnx", {"colour": "red"}, half=False)


def test_half_is_half_the_size_within_its_tolerance_and_never_black(tmp_path: Path) -> None:
    for name in ("horse2zebra",):
        model = i2i.load(name, device="cpu")
        said = writing.write_onnx(model, tmp_path / "half.onnx", {}, half=True)
        writing.write_onnx(model, tmp_path / "whole.onnx", {}, half=False)
        assert "tensors in 16 bits" in said
        assert (tmp_path / "half.onnx").stat().st_size < 0.6 * (tmp_path / "whole.onnx").stat().st_size
        given = picture(64, 64)
        made, wanted = np.asarray(i2i.load(tmp_path / "half.onnx")(given)), np.asarray(model(given))
        assert np.abs(made.astype(int) - wanted).mean() < 1
        assert made.std() > 10


def test_half_keeps_what_16_bits_cannot_hold_and_an_inaccurate_file_is_not_written(tmp_path: Path) -> None:
    model = built(FAMILIES["compact_sr"])
    with torch.no_grad():
        first = next(p for p in model.task.parameters() if p.ndim == 4)
        first.view(-1)[0] = 1e6
    data, count = graph.halved(graph.onnx_of(recorded.Recorded(model, {}, pads=True), (torch.rand(2, 3, 40, 48),)))
    kept = [t for t in onnx.load_model_from_string(data).graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    assert count > 0
    assert any(np.abs(onnx.numpy_helper.to_array(t)).max() == 1e6 for t in kept)


def planted(monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], None]) -> None:
    """Change every ONNX file after it was traced."""
    right = graph.onnx_of

    def wrong(*given: Any) -> bytes:
        model = graph.parsed(right(*given))
        change(model)
        return model.SerializeToString()

    monkeypatch.setattr(writing, "onnx_of", wrong)


def test_a_difference_names_the_first_layer_that_differs_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(model: Any) -> None:
        node = next(one for one in model.graph.node if "body.6" in one.name and one.op_type == "Conv")
        weight = next(one for one in model.graph.initializer if one.name == node.input[1])
        weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) * 1.1, weight.name))

    planted(monkeypatch, change)
    with pytest.raises(NumericError, match=r"first in layer G_ab\.body\.6 \(Conv2d\): nothing was written"):
        writing.write_onnx(built(FAMILIES["resnet"]), tmp_path / "x.onnx", {}, half=False)
    assert not list(tmp_path.iterdir())


def test_the_part_of_a_chain_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def change(model: Any) -> None:
        node = next(one for one in model.graph.node if "parts.1" in one.name and one.op_type == "Conv")
        weight = next(one for one in model.graph.initializer if one.name == node.input[1])
        weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) * 2, weight.name))

    planted(monkeypatch, change)
    with pytest.raises(NumericError, match=r"first in layer G\S* of part 2 \(Conv2d\)"):
        writing.write_onnx(i2i.load("restore | upscale-x2", device="cpu"), tmp_path / "x.onnx", {}, half=False)


def test_a_size_that_became_a_constant_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that looks at the size of its input in Python is traced for one size only."""
    model = built(FAMILIES["compact_sr"])
    right = type(model.task).translate
    monkeypatch.setattr(
        type(model.task), "translate", lambda self, image: right(self, image) * float(int(image.shape[-1]) > 80)
    )
    with pytest.raises(NumericError, match=r"differs from i2i by .* at 48x48, batch 1.*first after layer G"):
        writing.write_onnx(model, tmp_path / "x.onnx", {}, half=False)


def test_names_of_layers() -> None:
    assert list(layers_of("/parts.0/G/body/body.3/Conv")) == [
        "parts.0.G.body.3",
        "parts.0.G.body",
        "parts.0.G",
        "parts.0",
    ]
    assert list(layers_of("/Add_1")) == []


@pytest.mark.parametrize(
    ("task", "told"),
    [
        (changer("pix2pix", "unet_generator", downs=6) | {"test_mode": "train"}, "task.test_mode=eval"),
        ({"use": "vqvae2", "size": 32, "width": 8}, "maps and not vectors"),
    ],
)
def test_what_cannot_be_exported_says_why(task: dict[str, Any], told: str, tmp_path: Path) -> None:
    for write in (writing.write_onnx, writing.write_program):
        with pytest.raises(ConfigError, match=told):
            write(built(task), tmp_path / "x.onnx", {}, half=False)


def test_models_of_other_things_than_images_say_why(tmp_path: Path) -> None:
    class Talks(i2i.Task):
        makes = i2i.modalities.Clip()

        def translate(self, image: torch.Tensor) -> torch.Tensor:
            return image

    with pytest.raises(ConfigError, match="makes clips; only images can be exported"):
        writing.write_onnx(Model(Talks(), {}, Path("x")), tmp_path / "x.onnx", {}, half=False)


# ---- files of strangers


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "small.onnx"
    writing.write_onnx(built(FAMILIES["compact_sr"]), path, {}, half=False)
    return path


def resealed(data: bytes, change: Callable[[Any], None]) -> bytes:
    """Return a file that was changed by someone who knows how to compute the checksum."""
    model = graph.parsed(data)
    change(model)
    properties = {one.key: one.value for one in model.metadata_props}
    return graph.sealed(model.SerializeToString(), properties)


def refused(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    with pytest.raises(WeightsError) as told:
        i2i.load(path)
    assert "\n" not in str(told.value)
    return str(told.value)


def test_a_foreign_onnx_file_is_a_sentence(small: Path, tmp_path: Path) -> None:
    model = graph.parsed(small.read_bytes())
    del model.metadata_props[:]
    assert "was not written by i2i" in refused(tmp_path / "x.onnx", model.SerializeToString())
    assert "damaged or not one" in refused(tmp_path / "y.onnx", b"hello")
    assert "is empty" in refused(tmp_path / "z.onnx", b"")


def test_every_changed_byte_is_detected(small: Path, tmp_path: Path) -> None:
    data = small.read_bytes()
    rng = np.random.default_rng(0)
    for at in rng.integers(0, len(data), 60):
        changed = bytearray(data)
        changed[at] ^= 1 << int(rng.integers(8))
        refused(tmp_path / "x.onnx", bytes(changed))
    for length in rng.integers(0, len(data), 10):
        refused(tmp_path / "x.onnx", data[:length])


def outside(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def inside(model: Any) -> None:
    node = model.graph.node.add(op_type="Loop", output=["never"])
    node.attribute.add(name="body", type=onnx.AttributeProto.GRAPH).g.name = "again"


def private(model: Any) -> None:
    model.opset_import.add(domain="evil", version=1)


def impossible(name: str, value: Any) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        next(one for one in model.metadata_props if one.key == f"i2i.{name}").value = json.dumps(value)

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (outside, "keeps its weights in another file"),
        (inside, "graph inside of Loop"),
        (private, "outside of the ONNX standard"),
        (impossible("multiple", 0), "contradicts itself"),
        (impossible("multiple", "8"), "multiple is impossible"),
        (impossible("scale", 1 << 40), "scale is impossible"),
        (impossible("takes", "text"), "neither images"),
        (impossible("memory", [1]), "memory is impossible"),
        (impossible("format", 2), "update i2i"),
    ],
)
def test_hostile_files_are_refused(change: Callable[[Any], None], told: str, small: Path, tmp_path: Path) -> None:
    assert told in refused(tmp_path / "x.onnx", resealed(small.read_bytes(), change))


def test_a_file_that_lies_about_its_scale_is_a_sentence(small: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(resealed(small.read_bytes(), impossible("scale", 4)))
    with pytest.raises(I2IError, match="with scale 4"):
        i2i.load(path)(picture(16, 16))


def test_an_onnx_file_becomes_a_weights_file_and_back(small: Path, tmp_path: Path) -> None:
    model = i2i.load(small)
    model.write(tmp_path / "x.safetensors")
    again = i2i.load(tmp_path / "x.safetensors")
    assert levels_apart(again(picture(20, 30)), model(picture(20, 30))) == 0


def test_large_pictures_in_tiles_and_their_memory(small: Path) -> None:
    model, task = i2i.load(small), built(FAMILIES["compact_sr"])
    whole = model(picture(100, 120))
    assert levels_apart(model(picture(100, 120), tile=32), whole) <= 1
    assert model.need({}).of(1e6) > 0.9 * task.need({}).of(1e6)


def test_a_model_that_cannot_be_tiled_says_so(tmp_path: Path) -> None:
    model = exported(built(FAMILIES["resnet"]), tmp_path / "x.onnx")
    with pytest.raises(ConfigError, match="do not use --tile"):
        model(picture(100, 120), tile=32)


# ---- the command


def called(*arguments: str) -> str:
    found = CliRunner().invoke(app, list(arguments))
    if isinstance(found.exception, I2IError):
        raise found.exception
    assert found.exit_code == 0, found.output
    return found.output


def test_the_command_writes_and_translates(tmp_path: Path) -> None:
    out = tmp_path / "up.onnx"
    assert "equal to i2i within" in called("export", "upscale-x2", "-o", str(out))
    picture(20, 30).save(tmp_path / "a.png")
    called("translate", str(tmp_path / "a.png"), "-o", str(tmp_path / "out"), "-m", str(out))
    assert Image.open(tmp_path / "out" / "a.png").size == (60, 40)
    with pytest.raises(ConfigError, match="--force"):
        called("export", "upscale-x2", "-o", str(out))
    before = hashlib.sha256(out.read_bytes()).hexdigest()
    called("export", "upscale-x2", "-o", str(out), "--force")
    assert hashlib.sha256(out.read_bytes()).hexdigest() == before  # the same model is the same file


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["upscale-x2"], "-o NAME.onnx"),
        (["upscale-x2", "-o", "x.pth"], "NAME.pt2"),
        (["upscale-x2", "-o", "x.pt2", "--half"], "--half is for ONNX files"),
        (["no-such-model", "-o", "x.onnx"], "i2i models"),
    ],
)
def test_mistakes_on_the_command_line(arguments: list[str], told: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(I2IError, match=told):
        called("export", *arguments)
    assert not list(tmp_path.iterdir())


def test_a_missing_onnx_runtime_is_told_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "upscale.onnx"
    assert CliRunner().invoke(app, ["export", "upscale-x2", "-o", str(file)]).exit_code == 0
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(PluginError, match=r"^onnxruntime cannot be imported .*: pip install 'i2i\[export\]'$"):
        i2i.load(file)(np.zeros((8, 8, 3), np.uint8))
