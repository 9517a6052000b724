"""The conformance kit: each check passes what is right, and finds each way to break it with a sentence that helps."""

from __future__ import annotations

import configparser
import inspect
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from i2i_new import Kind, new
from torch import Tensor, nn

from i2i import __version__, testing
from i2i.catalog import Entry
from i2i.data import Data
from i2i.errors import ConfigError, NumericError, PluginError
from i2i.networks import PatchDiscriminator, ResnetGenerator, UnetGenerator
from i2i.plugins import registry
from i2i.task import Task
from i2i.testing import check_config, check_data, check_metric, check_network, check_task

ROOT = Path(__file__).parent.parent


def test_every_check_of_the_kit_is_public_and_says_what_it_raises() -> None:
    checks = {name for name in vars(testing) if name.startswith("check_")}
    assert {*testing.__all__} == checks | {"read_config", "shipped_configs"}
    for name in checks - {"check_translate"}:
        assert "Raises:" in (inspect.getdoc(getattr(testing, name)) or ""), name


class Autoencoder(Task):
    """x -> a code of half the numbers -> x; `wrong` breaks one point of what it can be asked for."""

    def __init__(self, wrong: str = "") -> None:
        super().__init__()
        self.wrong = wrong
        self.E, self.G = nn.Conv2d(1, 2, 2, 2), nn.ConvTranspose2d(2, 1, 2, 2)

    def players(self) -> dict[str, list[nn.Module]]:
        return {"G": [self.E, self.G]}

    def step(self, batch: dict[str, Any]) -> Iterator[tuple[str, dict[str, Tensor]]]:
        yield "G", {"l2": (self.decode(self.E(batch["A"])) - batch["A"]).square().mean()}

    def encode(self, image: Tensor) -> Tensor:
        z = self.E(image)
        if self.wrong == "random code":
            return z + torch.rand_like(z)
        return z[:1] if self.wrong == "one code" else z

    def decode(self, z: Tensor) -> Tensor:
        made = self.G(z).clamp(-1, 1)
        return made[..., 1:] if self.wrong == "narrow" and not self.training else made

    def prior(self, n: int) -> Tensor:
        return torch.randn(n, 3 if self.wrong == "other codes" else 2, 4, 4)

    def sample(self, n: int) -> Tensor:
        if self.wrong == "no sampling":
            raise ConfigError("built without a prior, it cannot sample")
        if self.wrong == "own chance":
            return torch.full((n, 1, 8, 8), random.SystemRandom().random())
        if self.wrong == "too many":
            return self.decode(torch.randn(n + 1, 2, 4, 4))
        made = self.decode(torch.randn(n, 2, 4, 4))
        return made * {"out of range": 9, "not finite": float("nan")}.get(self.wrong, 1)

    def pictures(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        return {"A": batch["A"], "again": self.decode(self.E(batch["A"]))}

    def predict(self, batch: dict[str, Any]) -> Tensor:
        if self.wrong == "predict one":
            return batch["A"][:1]
        return batch["A"] / (0 if self.wrong == "predict inf" else 1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("random code", r"Autoencoder.encode or .decode draws from the global random numbers"),
        ("one code", r"Autoencoder.encode returns \(1, 2, 4, 4\) for 2 pictures"),
        ("narrow", r"Autoencoder.decode\(encode\(x\)\) returns \(2, 1, 8, 7\) for pictures \(2, 1, 8, 8\)"),
        ("other codes", r"Autoencoder.prior returns codes \(3, 4, 4\), and encode \(2, 4, 4\)"),
        ("own chance", r"Autoencoder.sample gives other results after the same seed"),
        ("too many", r"Autoencoder.sample\(3\) returns \[4, 1, 8, 8\], not 3 results"),
        ("out of range", r"Autoencoder.sample leaves its range: "),
        ("not finite", r"Autoencoder.sample returned values that are not finite"),
        ("predict one", r"Autoencoder.predict made \[1, 1, 8, 8\] from \[2, 1, 8, 8\]; with scale 1 it must keep N"),
        ("predict inf", r"Autoencoder.predict returned values that are not finite"),
    ],
)
def test_check_task_asks_for_all_that_a_task_can_do(wrong: str, message: str) -> None:
    batch = {"A": torch.linspace(-1, 1, 128).view(2, 1, 8, 8)}
    torch.manual_seed(0)
    check_task(Autoencoder(), batch)
    check_task(Autoencoder("no sampling"), batch)
    with pytest.raises((AssertionError, NumericError, PluginError), match=f"^{message}"):
        check_task(Autoencoder(wrong), batch)


class Lamps(Data):
    """Grey pictures [1, 8, 8] of one brightness each; `wrong` breaks one point of the contract."""

    def __init__(self, wrong: str = "") -> None:
        self.wrong, self.calls = wrong, 0
        self.batch_size = 0 if wrong == "batch size" else 2
        self.trick = (lambda: None) if wrong == "lambda" else None

    def __len__(self) -> int:
        return 0 if self.wrong == "empty" else 10

    def sample(self, index: int, rng: np.random.Generator) -> Any:
        self.calls += 1
        image = torch.full((1, 8, 8), (1 + index) / 20) * float(rng.random())
        wrong: dict[str, Callable[[], Any]] = {
            "global numpy": lambda: {"image": image * np.random.rand()},
            "global torch": lambda: {"image": image * torch.rand(())},
            "own chance": lambda: {"image": image * random.SystemRandom().random()},
            "state": lambda: {"image": image / self.calls},
            "raises": lambda: {"image": image[99, 99]},
            "tuple": lambda: (image, index),
            "nothing": lambda: {},
            "sizes": lambda: {"image": torch.zeros(1, 8, 8 + index)},
            "range": lambda: {"image": image + 1.5},
            "bytes": lambda: {"image": (image * 255).byte()},
            "double": lambda: {"image": image.double()},
            "HWC": lambda: {"image": image.permute(1, 2, 0)},
            "nan": lambda: {"image": image * float("nan")},
            "numpy": lambda: {"image": image.numpy()},
            "no image": lambda: {"picture": image},
        }
        return wrong.get(self.wrong, lambda: {"image": image, "label": index})()

    def batch(self, indices: Sequence[int], rng: Callable[[int], np.random.Generator]) -> Any:
        made = super().batch(indices, rng)
        if self.wrong == "batch noise":
            made["image"] = made["image"] * random.SystemRandom().random()
        return [made] if self.wrong == "batch list" else made

    def validation(self) -> Sequence[Any]:
        if self.wrong == "leak":
            return [self.sample(0, np.random.default_rng([0, 0]))]
        if self.wrong == "moving":
            return [{"image": torch.full((1, 8, 8), random.SystemRandom().random())}]
        return [{"image": torch.full((1, 8, 8), 0.95), "label": 9}]


class Stacked(Lamps):
    """Lamps with the default `batch`."""

    batch = Data.batch


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("empty", r"has no training samples: len\(\) is 0"),
        ("batch size", r".batch_size is 0: set it to the samples of one step"),
        ("global numpy", r".sample draws from the global random numbers: use `rng` only"),
        ("global torch", r".sample draws from the global random numbers: use `rng` only"),
        (
            "own chance",
            r".sample\(0\) gives another result the second time: it must depend on `index` and `rng` only",
        ),
        ("state", r".sample\(0\) gives another result the second time"),
        ("tuple", r".sample\(0\) is a tuple, not a dict of tensors by name"),
        ("nothing", r".sample\(0\) is empty"),
        (
            "sizes",
            r": samples \{'image': .*8, 8.*\} and .* cannot be stacked: give all entries one size, or override",
        ),
        ("range", r'.sample\(0\)\["image"\] has values from 1.53 to 1.53: pictures are in \[-1, 1\]'),
        ("bytes", r'.sample\(0\)\["image"\] is torch.uint8: pictures are float32'),
        ("double", r'.sample\(0\)\["image"\] is torch.float64: pictures are float32'),
        ("HWC", r'.sample\(0\)\["image"\] is \(8, 8, 1\), which looks like \[H, W, C\]: use .permute\(2, 0, 1\)'),
        ("nan", r'.sample\(0\)\["image"\] contains values that are not finite'),
        ("numpy", r'.sample\(0\)\["image"\] is a numpy array: use torch.from_numpy'),
        ("no image", r".sample\(0\) has no image, but picture"),
        ("batch noise", r".batch gives another result the second time: use the given `rng` only"),
        ("batch list", r".batch returns a list, not a dict of stacked entries"),
        ("leak", r".validation\(\)\[0\] is training sample 0: validate on samples held back"),
        ("moving", r".validation\(\)\[0\] is another one the second time: it must be fixed"),
        ("lambda", r" cannot be sent to another process: "),
    ],
)
def test_check_data_finds_each_way_to_break_it(wrong: str, message: str) -> None:
    of = Lamps if wrong.startswith("batch") else Stacked
    check_data(of(), images=["image"])
    with pytest.raises(AssertionError, match=f"^{of.__name__} ?{message}"):
        check_data(of(wrong), images=["image"])


def test_check_data_names_the_line_at_which_a_data_set_raises() -> None:
    with pytest.raises(
        PluginError, match=r"Lamps \(test_kit\) failed in sample: IndexError: .*\(test_kit.py line \d+"
    ):
        check_data(Lamps("raises"))


def test_check_data_knows_pictures_by_their_axes() -> None:
    with pytest.raises(AssertionError, match=r'Lamps.sample\(0\)\["image"\] has values from 1.5'):
        check_data(Lamps("range"))
    check_data(Lamps("range"), images=[])
    check_data(registry().catalog.find("data", "digits").build(samples=40, validation_samples=8))


class Net(nn.Module):
    """[N, 1, H, W] -> [N, 1, H, W]; `wrong` breaks one point."""

    def __init__(self, wrong: str = "", multiple: Any = 2, minimum: int = 4) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(1, 4, 2, 2), nn.ConvTranspose2d(4, 1, 2, 2)
        self.idle = nn.Linear(1, 1) if wrong == "idle" else None
        self.norm = nn.BatchNorm2d(4)
        self.wrong, self.multiple, self.minimum = wrong, multiple, minimum
        if wrong == "lambda":
            self.trick = lambda: None

    def forward(self, x: Tensor) -> Any:
        if self.wrong == "in place":
            x.mul_(0.5)
        if x.shape[-1] < 4 or x.shape[-2] < 4:
            raise ValueError("too small")
        h = nn.functional.dropout(self.down(x), 0.5, training=self.wrong == "dropout" or self.training)
        if self.wrong == "statistics":
            self.norm.train()
        y = self.up(self.norm(h))
        if self.wrong == "nan":
            return y / 0
        if self.wrong == "no tensor":
            return "y"
        if self.wrong == "detached":
            return y.detach()
        if self.wrong == "fewer":
            return y[:1]
        return [y] if self.wrong == "list" else y


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("idle", r"no gradient reaches idle.weight, idle.bias: use it in forward\(\), or remove it"),
        ("in place", r"changes what it is given"),
        ("dropout", r"draws random numbers in eval mode"),
        ("statistics", r"changes its buffers in eval mode"),
        ("nan", r"returns values that are not finite"),
        ("no tensor", r"returns a str, without any tensor"),
        ("detached", r"its output depends on none of its parameters"),
        ("list", r"returns a list, not one tensor \(2, 1, 8, 8\)"),
        ("lambda", r"cannot be sent to another process"),
    ],
)
def test_check_network_finds_each_way_to_break_it(wrong: str, message: str) -> None:
    image = torch.linspace(-1, 1, 128).view(2, 1, 8, 8)
    check_network(Net(), image, shape=(2, 1, 8, 8))
    with pytest.raises(AssertionError, match=f"^Net:? {message}"):
        check_network(Net(wrong), image.clone(), shape=(2, 1, 8, 8))


def test_check_network_wants_as_many_results_as_it_gives_inputs() -> None:
    image = torch.linspace(-1, 1, 128).view(2, 1, 8, 8)
    check_network(Net(), image)
    with pytest.raises(AssertionError, match=r"^Net returns \(1, 1, 8, 8\) for a batch of 2$"):
        check_network(Net("fewer"), image)


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"multiple": 1}, r"Net declares multiple 1 and minimum 4, but its output is not a fixed factor"),
        ({"minimum": 2}, r"Net declares multiple 2 and minimum 2, and fails at 2x4 pixels: .*too small"),
        ({"multiple": 0}, r"Net.multiple is 0: it must be a positive integer"),
        ({"multiple": 2.0}, r"Net.multiple is 2.0: it must be a positive integer"),
    ],
)
def test_check_network_finds_sizes_that_are_declared_wrongly(declared: dict[str, Any], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_network(Net(**declared), torch.linspace(-1, 1, 128).view(2, 1, 8, 8))
    with pytest.raises(AssertionError, match=r"Net returns \(2, 1, 8, 8\), not \(2, 3, 8, 8\)"):
        check_network(Net(), torch.zeros(2, 1, 8, 8), shape=(2, 3, 8, 8))


def test_the_networks_of_the_core_pass_the_check() -> None:
    image = torch.rand(2, 3, 16, 16) * 2 - 1
    check_network(ResnetGenerator(width=4, blocks=1), image, shape=(2, 3, 16, 16))
    check_network(UnetGenerator(width=4, downs=3), image, shape=(2, 3, 16, 16))
    check_network(PatchDiscriminator(width=4, layers=1), image)
    with pytest.raises(PluginError, match=r"PatchDiscriminator .* failed in forward: TypeError: .*"):
        check_network(PatchDiscriminator(width=4, layers=1), image, image, image, image)


class Brightness:
    """Mean of the validation pictures; `wrong` breaks one point."""

    def __init__(self, wrong: str = "") -> None:
        self.wrong, self.calls = wrong, 0

    def refuse(self, task: Any, data: Data) -> None:
        if not len(data.validation()) and self.wrong != "lets through":
            raise ConfigError("brightness needs validation samples: use data with some")

    def __call__(self, task: Any, data: Data) -> Any:
        self.calls += 1
        value = float(np.mean([sample["image"].mean() for sample in data.validation()]))
        if self.wrong == "seeds":
            torch.manual_seed(0)
        if self.wrong == "draws":
            np.random.rand()
        if self.wrong == "trains":
            task.train()
        if self.wrong == "weights":
            task.E.weight.add_(1)
        if self.wrong == "number":
            return value
        if self.wrong == "raises":
            return {"mean": data.validation()["image"]}  # type: ignore[call-overload]
        wrong = {"nan": float("nan"), "word": "bright", "tensor": torch.ones(2), "calls": self.calls}
        return (
            {} if self.wrong == "nothing" else {1 if self.wrong == "name" else "mean": wrong.get(self.wrong, value)}
        )


class Unseen(Lamps):
    """Lamps without validation samples."""

    def validation(self) -> Sequence[Any]:
        return []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("seeds", r"changes the global random state: use torch.random.fork_rng, or a generator of its own"),
        ("draws", r"changes the global random state"),
        ("trains", r"leaves the task in training mode"),
        ("weights", r"changes the weights or buffers of the task"),
        ("number", r"returns a float instead of a dict of numbers by name"),
        ("nothing", r"returns no numbers"),
        ("nan", r"'mean' is nan"),
        ("word", r"returns 'mean' as a str, which must be a number"),
        ("tensor", r"returns 'mean' of shape \(2,\), which must be a number"),
        ("name", r"the name 1 of a number must be a string"),
        ("calls", r"gives other numbers the second time"),
    ],
)
def test_check_metric_finds_each_way_to_break_it(wrong: str, message: str) -> None:
    rejects = Autoencoder(), Unseen()
    check_metric(Brightness(), Autoencoder(), Lamps(), rejects=rejects)
    with pytest.raises(AssertionError, match=f"^Brightness:? {message}"):
        check_metric(Brightness(wrong), Autoencoder(), Lamps(), rejects=rejects)


def test_check_metric_wants_what_cannot_be_judged_refused_before_training() -> None:
    with pytest.raises(AssertionError, match=r"Brightness lets Autoencoder on Unseen through"):
        check_metric(Brightness("lets through"), Autoencoder(), Lamps(), rejects=(Autoencoder(), Unseen()))
    with pytest.raises(AssertionError, match=r"mean lets .* would train first .*: declare `needs`, or add"):
        check_metric(mean, Autoencoder(), Lamps(), rejects=(Autoencoder(), Unseen()))
    with pytest.raises(ConfigError, match="brightness needs validation samples"):
        check_metric(Brightness(), Autoencoder(), Unseen())
    with pytest.raises(
        PluginError, match=r"Brightness \(test_kit\) failed in its call: TypeError: .*test_kit.py line"
    ):
        check_metric(Brightness("raises"), Autoencoder(), Lamps())


def mean(task: Any, data: Data) -> dict[str, float]:
    return {"mean": 0.5}


def test_check_config_parses_builds_and_steps(tmp_path: Path) -> None:
    path = ROOT / "configs" / "cyclegan.yaml"
    toy = ["data.size=32", "task.generator.width=4", "task.generator.blocks=1", "task.discriminator.width=4"]
    config = check_config(path, *toy, "data.batch_size=1", "data.samples=2", "data.validation_samples=1")
    assert config.name == "cyclegan"
    with pytest.raises(ConfigError, match=r"unknown key `lambda_cicle`, did you mean `lambda_cycle`\?"):
        check_config(path, "task.lambda_cicle=1")
    with pytest.raises(ConfigError, match=r"psnr .*UnpairedFolders|psnr .*paired|psnr compares"):
        check_config(path, *toy, "data.samples=2", "data.validation_samples=1", "metrics=[{use: psnr}]")
    with pytest.raises(ConfigError, match=r"missing\.yaml"):
        check_config(tmp_path / "missing.yaml")


class Half(Autoencoder):
    """Forgets one of its networks."""

    def players(self) -> dict[str, list[nn.Module]]:
        return {"G": [self.G]}


def test_check_config_says_what_a_run_would_say_of_a_broken_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry().catalog._entries, ("task", "half"), Entry("task", "half", Half, "test"))
    (tmp_path / "half.yaml").write_text("task: {use: half}\ndata: {use: digits, samples: 20}\ntrain: {steps: 1}\n")
    with pytest.raises(
        PluginError, match=r"^E.weight of Half is trained by no player: .*\(test_kit.py line \d+, in pl"
    ):
        check_config(tmp_path / "half.yaml")


TRAIN = """
import sys
import i2i, pytest
code = pytest.main(["-q", "-p", "no:cacheprovider", *sys.argv[1:]])
assert not code, code
for folder in sys.argv[1:]:
    name = folder.removeprefix("i2i-")
    few = ["data.samples=32", "data.validation_samples=2", "train.steps=2"]
    run = i2i.run(name, *few)
    print("trained", run.name)
"""


def test_a_package_within_a_package_of_plugins_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "setup.cfg").write_text("[options.entry_points]\nconsole_scripts =\n    a = b:c\n")  # another's
    new("outer_one", Kind["metric"], "")
    assert capsys.readouterr().err == ""
    monkeypatch.chdir("i2i-outer_one")
    new("inner_one", Kind["metric"], "")
    said = f"i2i: i2i-inner_one lies in the package {tmp_path / 'i2i-outer_one'}, but will not be a part of it\n"
    assert capsys.readouterr().err == said
    new("beside_it", Kind["metric"], "../i2i-beside_it")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        ('[project]\nname = "x"\n[project.entry-points.i2i]\nx = "x"\n', True),
        ('[project.entry-points."i2i.commands"]\nx = "x:x"\n', True),
        ('[project.entry-points]\ni2i = {x = "x"}\n', False),  # written in this way by nobody
        ('[project.entry-points.i2i_other]\nx = "x"\n', False),
        ('[project]\ndescription = "see [project.entry-points.i2i]"\n', False),
    ],
)
def test_a_package_within_one_with_a_pyproject_toml_is_reported(
    text: str, ours: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    new("inner_one", Kind["metric"], "")
    assert (f"i2i: i2i-inner_one lies in the package {tmp_path}," in capsys.readouterr().err) == ours


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("image", "task", "'image' would name a class Image, as another one in the package"),
        ("loss", "task", "'loss' would name a class Loss"),
        ("smooth", "modality", "'smooth' would name a class Smooth"),
        ("psnr", "metric", "there is already a metric called 'psnr'"),
        ("vqvae2", "latent", "there is already a task called 'vqvae2'|plugin or command"),
    ],
)
def test_names_with_which_a_package_could_not_work_are_refused(
    name: str, kind: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=says):
        new(name, Kind[kind], "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(180)
def test_the_package_of_each_kind_passes_its_tests_and_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [f"my_{kind.value}" for kind in Kind]
    for name, kind in zip(names, Kind, strict=True):
        new(name, kind, "")
        setup = configparser.ConfigParser()
        setup.read(f"i2i-{name}/setup.cfg")
        assert setup["options"]["install_requires"] == f"i2i>={__version__}"
        assert (Path(f"i2i-{name}/i2i_{name}") / setup["options.package_data"][f"i2i_{name}"]).parent.is_dir()
        installed = Path(f"i2i-{name}/i2i_{name}-0.1.0.dist-info")  # what pip would write
        installed.mkdir()
        (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: i2i-{name}\nVersion: 0.1.0\n")
        (installed / "entry_points.txt").write_text(f"[i2i]{setup['options.entry_points']['i2i']}\n")
    folders = [f"i2i-{name}" for name in names]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(str(tmp_path / folder) for folder in folders)}
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, *folders], env=variables, capture_output=True, text=True, timeout=170
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"^trained (\w+)$", done.stdout, flags=re.M) == names
    assert not list(tmp_path.rglob("*.template"))
    for file in [file for folder in folders for file in Path(folder).rglob("*") if file.is_file()]:
        assert not re.search("NAME|TITLE|VERSION|SUMMARY", file.read_text(errors="ignore")), file
