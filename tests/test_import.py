"""`i2i import`: weights of other projects become one file that describes itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors
import torch
from typer.testing import CliRunner

import i2i
from i2i.checkpoint import load_model
from i2i.cli import app
from i2i.networks import UnetGenerator
from tests.test_published import Resnet, Unet, image, saved, trained

RUN = CliRunner()


def test_the_file_translates_as_the_original_and_describes_itself(tmp_path: Path) -> None:
    theirs = trained(Unet())
    saved(tmp_path / "latest_net_G.pth", theirs)
    out = tmp_path / "facades.safetensors"
    done = RUN.invoke(app, ["import", f"{tmp_path}/latest_net_G.pth", "-o", str(out), "task.test_mode=eval"])
    assert done.exit_code == 0, done.output
    assert "latest_net_G.pth: a U-Net generator (pix2pix, CycleGAN), 3 to 3 channels, width 4, 6 down" in done.stderr
    _, text, about = load_model(out)
    assert "use: unet_generator" in text
    assert about == {"source": "latest_net_G.pth"}
    model, x = i2i.load(out), image(1, 3, 64, 64)
    assert isinstance(model.task.G, UnetGenerator)
    torch.testing.assert_close(model.task.translate(x), theirs(x), atol=1e-5, rtol=0)


def test_half_is_half_as_large_and_keeps_what_float16_cannot_hold(tmp_path: Path) -> None:
    theirs = trained(Resnet(norm="batch", width=16))
    theirs.state_dict()["model.2.running_var"].fill_(1e6)
    saved(tmp_path / "latest_net_G.pth", theirs)
    for name, flags in (("full", []), ("half", ["--half"])):
        done = RUN.invoke(
            app, ["import", f"{tmp_path}/latest_net_G.pth", "-o", f"{tmp_path}/{name}.safetensors", *flags]
        )
        assert done.exit_code == 0, done.output
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("full", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    with safetensors.safe_open(tmp_path / "half.safetensors", "pt") as opened:
        assert opened.get_tensor("G.head.weight").dtype == torch.float16
        assert opened.get_tensor("G.body.1.running_var").dtype == torch.float32


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "name the file to write with -o"),
        (["-o", "net.pth"], "name it net.safetensors"),
        (["-o", "."], "name it weights.safetensors"),
        (["-o", "there.safetensors"], "already exists: use --force"),
        (["-o", "new.safetensors", "task.generator.blocks=3"], "does not fit Pix2Pix"),
        (["-o", "new.safetensors", "task.test_mod=eval"], "did you mean `test_mode`"),
    ],
)
def test_a_mistake_is_one_sentence_and_writes_nothing(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    saved(Path("latest_net_G.pth"), Resnet())
    Path("there.safetensors").write_text("precious")
    done = RUN.invoke(app, ["import", "latest_net_G.pth", *arguments])
    assert isinstance(done.exception, i2i.I2IError)
    assert says in str(done.exception)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest_net_G.pth", "there.safetensors"]
    assert Path("there.safetensors").read_text() == "precious"


def test_force_overwrites_and_a_folder_is_created(tmp_path: Path) -> None:
    out = tmp_path / "there.safetensors"
    out.write_text("old")
    saved(tmp_path / "latest_net_G.pth", Resnet())
    assert RUN.invoke(app, ["import", f"{tmp_path}/latest_net_G.pth", "-o", str(out), "--force"]).exit_code == 0
    assert i2i.load(out).task.takes.multiple == 4  # type: ignore[attr-defined]
    new = tmp_path / "new" / "er" / "a.safetensors"
    assert RUN.invoke(app, ["import", str(out), "-o", str(new)]).exit_code == 0
    assert new.is_file()
