"""Configs: every mistake is reported with its location and the valid options. Cases C1 to C10, C13.

The catalog here consists of plain functions and classes, so no test needs torch.
"""

from __future__ import annotations

import copy
import enum
import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt, Lt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import Field, NonNegativeFloat, PositiveInt

import i2i
from i2i import config
from i2i.catalog import Catalog, Loss, Metric, Network
from i2i.config import Config, Train, experiment
from i2i.errors import ConfigError, PluginError

if TYPE_CHECKING:
    from nowhere import Tensor  # type: ignore[import-not-found]


class Padding(enum.Enum):
    """An enum parameter."""

    ZERO = "zero"
    MIRROR = "mirror"


@dataclass
class Crop:
    """A dataclass parameter.

    Args:
        height: rows that are kept
    """

    height: int
    width: int = 8

    def __post_init__(self) -> None:
        if self.height > 50:
            raise ValueError(f"{self.height} rows are more than there are")


class FakeTask:
    """A task with every kind of parameter.

    More about it.

    Args:
        generator: network [N, 3, H, W]
            that translates
        lambda_cycle (float): weight of eq. 2
    """

    def __init__(
        self,
        generator: Network,
        gan: Loss,
        encoder: Network | None = None,
        terms: list[Loss] = [],  # noqa: B006
        by_name: dict[str, Network] | None = None,
        lambda_cycle: NonNegativeFloat = 10.0,
        lambda_identity: NonNegativeFloat = 0.5,
        pool: Annotated[int, Ge(0)] = 50,
        dropout: Annotated[float, Gt(0), Lt(1)] | None = None,
        sizes: tuple[int, ...] = (64, 128),
        padding: Padding = Padding.ZERO,
        crop: Crop | None = None,
        gain: float | Literal["auto"] = "auto",
        where: Path = Path("out"),
        note: str = "",
        free: Any = None,
        activation: Callable[..., Any] = abs,
    ) -> None:
        self.generator = generator()
        self.arguments = dict(locals())


def net(in_channels: PositiveInt = 3, blocks: Annotated[int, Field(ge=1, le=12)] = 9, norm: str = "instance") -> str:
    """Return a network."""
    return f"net {in_channels} {blocks} {norm}"


def lsgan(target=0.9, smooth=False):
    return target, smooth


def adam(params: Sequence[Any], lr: NonNegativeFloat = 2e-4, betas: tuple[float, float] = (0.5, 0.999)) -> Any:
    return params, lr, betas


def sgd(params: Sequence[Any], /, momentum: float = 0) -> Any:
    return params, momentum


def folders(root: str, size: PositiveInt = 256, batch_size: PositiveInt = 1, flip: bool = True) -> Any:
    return root


def linear_decay(start: float, end: float = 1.0) -> Any:
    return start, end


def kid(samples: int = 100, nested: Metric | None = None) -> Any:
    return samples


@pytest.fixture(scope="module", autouse=True)
def one_grammar() -> Iterator[None]:
    """Read each catalog's signatures only once, because these tests load thousands of configs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "Grammar", functools.cache(experiment.Grammar))
        yield


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    found = Catalog()
    found.task("fake", FakeTask)
    found.network("resnet", net)
    found.loss("lsgan", lsgan)
    found.optimizer("adam", adam)
    found.optimizer("sgd", sgd)
    found.data("folders", folders)
    found.schedule("linear_decay", linear_decay)
    found.metric("kid", kid)
    found.metric("lpips", lambda backbone="alex": None)
    return found


SMALL = """\
task:
  use: fake
  generator: {use: resnet, blocks: 6}
  gan: {use: lsgan}
data: {use: folders, root: horses}
train: {steps: 10}
"""

FULL: dict[str, Any] = {
    "task": {
        "use": "fake",
        "generator": {"use": "resnet", "in_channels": 4, "blocks": 6, "norm": "batch"},
        "gan": {"use": "lsgan", "target": 1.0, "smooth": True},
        "encoder": {"use": "resnet", "in_channels": 1, "blocks": 1, "norm": "none"},
        "terms": [{"use": "lsgan", "target": 0.5, "smooth": False}],
        "by_name": {"first": {"use": "resnet", "in_channels": 2, "blocks": 2, "norm": "x"}},
        "lambda_cycle": 5.0,
        "lambda_identity": 0.0,
        "pool": 0,
        "dropout": 0.5,
        "sizes": [1, 2, 3],
        "padding": "mirror",
        "crop": {"height": 4, "width": 5},
        "gain": 0.1,
        "where": "a/b",
        "note": "no",
        "free": {"any": ["thing", 1, 2.5, None, True]},
        "activation": None,
    },
    "data": {"use": "folders", "root": "horses", "size": 8, "batch_size": 2, "flip": False},
    "optimizer": {
        "G": {"use": "adam", "lr": 1e-4, "betas": [0.0, 0.9]},
        "D": {"use": "sgd", "momentum": 0.9},
    },
    "schedule": {"use": "linear_decay", "start": 1.0, "end": 2.0},
    "train": {
        "epochs": None,
        "steps": 7,
        "speed": "exact",
        "precision": "bf16",
        "device": "auto",
        "start_from": "runs/other",
        "seed": 3,
        "ema": 0.999,
        "accumulate": 2,
        "clip": 1.0,
        "log_every": 5,
        "sample_every": 6,
        "evaluate_every": 7,
        "best": "kid/random_conv",
        "best_is": "lowest",
        "checkpoint_every": 8,
        "keep": 9,
        "on_nan": "skip",
        "timeout": 10.0,
        "shard": False,
        "threads": 1,
    },
    "metrics": [{"use": "kid", "samples": 5, "nested": {"use": "lpips", "backbone": "vgg"}}],
}
del FULL["task"]["activation"]  # configs cannot express callables
FREE = {("optimizer",), ("task", "by_name"), ("task", "free")}  # mappings with free-form keys


def parse(text: str | bytes, catalog: Catalog, *overrides: str) -> Config:
    return config.parse(text, "dir/small.yaml", overrides, catalog)


def mistakes(text: str | bytes, catalog: Catalog, *overrides: str) -> list[str]:
    """Return the lines of the error message."""
    with pytest.raises(ConfigError) as caught:
        parse(text, catalog, *overrides)
    return str(caught.value).splitlines()


def mistake(text: str | bytes, catalog: Catalog, *overrides: str) -> str:
    """Return the error message, which must be a single line."""
    (line,) = mistakes(text, catalog, *overrides)
    return line


# Building a config.


def test_the_result_is_a_partial_of_the_named_part(catalog: Catalog) -> None:
    found = parse(SMALL, catalog)
    assert isinstance(found.task, functools.partial)
    assert found.task.func is FakeTask
    generator = found.task.keywords["generator"]
    assert generator.func is net
    assert generator() == "net 3 6 instance"
    assert generator(in_channels=5) == "net 5 6 instance"  # the task has the last word
    assert found.task().generator == "net 3 6 instance"
    assert found.name == "small"
    assert found.schedule is None
    assert found.metrics == []


def test_values_have_the_annotated_types(catalog: Catalog) -> None:
    given = config.from_dict(FULL, catalog).task.keywords
    assert given["sizes"] == (1, 2, 3)
    assert given["padding"] is Padding.MIRROR
    assert given["crop"] == Crop(4, 5)
    assert given["where"] == Path("a/b")
    assert given["free"] == {"any": ["thing", 1, 2.5, None, True]}
    assert [part.func for part in given["terms"]] == [lsgan]
    assert given["by_name"]["first"]() == "net 2 2 x"
    assert "activation" not in given  # the constructor's default stays


def test_defaults_are_filled_in_and_integers_become_floats(catalog: Catalog) -> None:
    found = parse(SMALL, catalog, "task.lambda_cycle=5")
    assert found.tree["task"]["lambda_cycle"] == 5.0
    assert isinstance(found.task.keywords["lambda_cycle"], float)
    assert found.tree["optimizer"] == {"use": "adam", "lr": 2e-4, "betas": [0.5, 0.999]}
    assert found.tree["train"]["precision"] == "auto"
    assert found.train == Train(steps=10)
    assert found.tree["task"]["padding"] == "zero"


def test_defaults_that_a_config_cannot_express_are_left_to_the_constructor() -> None:
    def odd(
        largest: float = float("inf"), kind: type = int, lr: PositiveInt = 0, tensor: Padding | object = abs
    ) -> Any:
        return largest, kind, lr, tensor

    own = Catalog()
    own.task("odd", odd)
    own.data("folders", folders)
    own.optimizer("adam", adam)
    found = parse("task: {use: odd}\ndata: {use: folders, root: a}\ntrain: {steps: 1}\n", own)
    assert found.tree["task"] == {"use": "odd"}
    assert found.task() == (float("inf"), int, 0, abs)
    assert parse(found.text(), own).tree == found.tree
    assert config.schema(own)["$defs"]["task.odd"]["required"] == ["use"]


def test_positional_only_and_first_optimizer_parameters_are_not_keys(catalog: Catalog) -> None:
    assert parse(SMALL, catalog).optimizer([1]) == ([1], 2e-4, (0.5, 0.999))
    assert "unknown key `params`, possible: lr, betas" in mistake(SMALL, catalog, "optimizer.params=[1]")


def test_an_optimizer_for_each_player(catalog: Catalog) -> None:
    found = parse(SMALL, catalog, "optimizer={G: {use: adam, lr: 1}, D: {use: sgd}}")
    assert found.optimizer["G"]([]) == ([], 1.0, (0.5, 0.999))
    assert found.optimizer["D"].func is sgd
    found = parse(found.text(), catalog, "optimizer.G.lr=1e-4")
    assert found.optimizer["G"].keywords["lr"] == 1e-4


def test_metrics_carry_their_names(catalog: Catalog) -> None:
    found = parse(SMALL + "metrics: [{use: kid, samples: 3}, {use: lpips}]\n", catalog, "metrics.0.samples=4")
    assert [(name, metric.keywords) for name, metric in found.metrics] == [
        ("kid", {"samples": 4, "nested": None}),
        ("lpips", {"backbone": "alex"}),
    ]
    twice = parse(SMALL + "metrics: [{use: kid}, {use: lpips}, {use: kid}, {use: kid}]\n", catalog)
    assert [name for name, _ in twice.metrics] == ["kid", "lpips", "kid_2", "kid_3"]


def test_the_resolved_text_is_a_fixed_point_and_the_full_tree_is_unchanged(catalog: Catalog) -> None:
    for found in (parse(SMALL, catalog), config.from_dict(FULL, catalog)):
        again = parse(found.text(), catalog)
        assert again.tree == found.tree
        assert again.text() == found.text()
        assert config.from_dict(json.loads(json.dumps(found.tree)), catalog).text() == found.text()
    assert found.tree == FULL


def test_a_config_loads_quickly_without_torch(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SMALL)
    program = """
import sys, time
start = time.process_time()
from i2i.catalog import Catalog, Loss, Network
from i2i import config
def task(generator: Network, gan: Loss, a: float = 1): ...
c = Catalog()
c.task("fake", task)
c.network("resnet", lambda blocks=3: 0)
c.loss("lsgan", lambda: 0)
c.data("folders", lambda root="": 0)
c.optimizer("adam", lambda params, lr=1.0: 0)
config.load("small.yaml", [], c)
assert "torch" not in sys.modules and "numpy" not in sys.modules
print(time.process_time() - start)
"""
    root = str(Path(config.__file__).parents[2])
    run = functools.partial(subprocess.run, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    environment = {**os.environ, "PYTHONPATH": root}
    seconds = min(float(run([sys.executable, "-c", program], env=environment).stdout) for _ in range(3))
    assert seconds < 2  # 0.25 on an idle machine


# C1: misspelt keys.


def key_paths(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every key known to the schema."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        if isinstance(tree, dict) and path not in FREE:
            yield (*path, key)
        if (*path, key) != ("task", "free"):
            yield from key_paths(value, (*path, key))


def misspellings(key: str) -> Iterator[str]:
    """Yield every deletion, doubling, swap and substitution of one letter."""
    for i in range(len(key)):
        yield key[:i] + key[i + 1 :]
        yield key[:i] + key[i] + key[i:]
        yield key[:i] + ("x" if key[i] != "x" else "y") + key[i + 1 :]
        yield key[:i] + key[i + 1 : i + 2] + key[i] + key[i + 2 :]


def at(tree: Any, path: Sequence[Any]) -> Any:
    return functools.reduce(lambda node, step: node[step], path, tree)


@pytest.mark.parametrize("path", list(key_paths(FULL)), ids=lambda path: ".".join(map(str, path)))
def test_C1_a_key_misspelt_by_one_letter_is_an_error_that_suggests_the_right_key(
    path: tuple[Any, ...], catalog: Catalog
) -> None:
    siblings = at(FULL, path[:-1])
    for wrong in sorted({*misspellings(path[-1])} - {*siblings}):
        tree = copy.deepcopy(FULL)
        above = at(tree, path[:-1])
        renamed = {wrong if key == path[-1] else key: value for key, value in above.items()}
        above.clear()
        above.update(renamed)
        with pytest.raises(ConfigError) as caught:
            config.from_dict(tree, catalog, "full.yaml")
        where = ".".join(map(str, (*path[:-1], wrong)))
        first = str(caught.value).splitlines()[0]
        assert first == f"full.yaml: {where}: unknown key `{wrong}`, did you mean `{path[-1]}`?"


def test_C1_the_config_of_the_spelling_test_uses_every_key(catalog: Catalog) -> None:
    known = {
        (kind, name, key)
        for kind, name in (("task", "fake"), ("network", "resnet"), ("loss", "lsgan"), ("optimizer", "adam"))
        for key in config.schema(catalog)["$defs"][f"{kind}.{name}"]["properties"]
    }
    used = {path[-1] for path in key_paths(FULL)} | {"activation"}
    assert {key for _, _, key in known} <= used
    assert set(config.schema(catalog)["properties"]) <= used
    assert set(config.schema(catalog)["$defs"]["record.i2i.config.experiment.Train"]["properties"]) <= used


def test_C1_a_misspelt_key_is_named_with_its_line_and_suggestions(catalog: Catalog) -> None:
    text = SMALL.replace("blocks", "blcoks").replace("root:", "size: 4, qqq: 1, root:")
    assert mistakes(text, catalog) == [
        "dir/small.yaml:3: task.generator.blcoks: unknown key `blcoks`, did you mean `blocks`?",
        "dir/small.yaml:5: data.qqq: unknown key `qqq`, possible: root, size, batch_size, flip",
    ]


def test_a_part_for_an_unannotated_parameter_is_rejected_with_a_fix() -> None:
    def bare(generator, gan=None, steps=3): ...  # type: ignore[no-untyped-def]

    own = Catalog()
    own.task("bare", bare)
    text = "task: {use: bare, generator: {use: resnet}, gan: [1]}\ndata: {use: folders}\n"
    wrong = mistakes(text, own)
    assert wrong[0].startswith("dir/small.yaml:1: task.generator: ")
    assert "write `name: Network`" in wrong[0]
    assert not any("task.gan" in line for line in wrong)


def test_C1_all_mistakes_are_reported_at_once_with_their_lines(catalog: Catalog) -> None:
    text = """\
task:
  use: fake
  generator:
    use: resnet
    blocks: many
  gan: lsgan
  terms: [{use: lsgan, target: 3}, {use: lsgann}]
  lambda_cycle: -1
  sizes: [1, x]
dta: {use: folders}
train: {steps: 0, keep: 1.5}
"""
    assert mistakes(text, catalog) == [
        "dir/small.yaml:10: dta: unknown key `dta`, did you mean `data`?",
        'dir/small.yaml:5: task.generator.blocks: "many" should be a valid integer',
        'dir/small.yaml:6: task.gan: "lsgan" should be a mapping such as {use: NAME}, possible names: lsgan',
        "dir/small.yaml:7: task.terms.1.use: unknown loss 'lsgann': did you mean lsgan? "
        "(if it is in your own file, add --plugin FILE)",
        "dir/small.yaml:8: task.lambda_cycle: -1 should be greater than or equal to 0",
        'dir/small.yaml:9: task.sizes.1: "x" should be a valid integer',
        "dir/small.yaml:11: train.steps: 0 should be greater than 0",
        "dir/small.yaml:11: train.keep: 1.5 should be a valid integer",
    ]


def test_C1_a_missing_key_is_named_with_its_type(catalog: Catalog) -> None:
    assert mistakes("data: {use: folders}\ntrain: {steps: 1}\n", catalog) == [
        "dir/small.yaml:1: the key `task` is missing (the method)",
        "dir/small.yaml:1: data: the key `root` is missing",
    ]
    no_use = mistake(SMALL.replace("{use: lsgan}", "{}"), catalog)
    assert no_use == "dir/small.yaml:4: task.gan: the key `use` is missing, possible names: lsgan"


# C2: duplicate keys.


def test_C2_a_duplicate_key_is_rejected_with_both_lines(catalog: Catalog) -> None:
    line = mistake(SMALL + "\ntrain: {steps: 9}\n", catalog)
    assert line == "dir/small.yaml:8: duplicate key `train`, first at dir/small.yaml:6"
    assert "duplicate key `root`" in mistake(SMALL.replace("root: horses", "root: a, 'root': b"), catalog)


# C3: YAML 1.2 scalars.


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("2.0e-4", 2e-4),
        (".5", 0.5),
        ("1.", 1.0),
        ("+3", 3),
        ("-0x1F", "-0x1F"),
        ("0x1F", 31),
        ("0o17", 15),
        ("010", 10),
        ("08", 8),
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("tRue", "tRue"),
        ("null", None),
        ("~", None),
        ("", None),
        ("12:30", "12:30"),
        ("1_000", "1_000"),
        ("2026-07-01", "2026-07-01"),
        ("0b11", "0b11"),
        ("=", "="),
        ("<<", "<<"),
        ("'1'", "1"),
        ('"null"', "null"),
        ("1e400x", "1e400x"),
    ],
)
def test_C3_scalars_follow_yaml_1_2(text: str, value: object, catalog: Catalog) -> None:
    found = parse(SMALL.replace("use: fake", f"use: fake\n  free: {text}"), catalog)
    assert found.task.keywords["free"] == value
    assert type(found.task.keywords["free"]) is type(value)
    assert parse(found.text(), catalog).tree == found.tree


@pytest.mark.parametrize(
    ("override", "why"),
    [
        ("task.pool=1_000", '"1_000" should be a valid integer'),
        ("task.pool='3'", '"3" should be a valid integer'),
        ("task.pool=3.0", "3.0 should be an integer: write 3"),
        ("task.pool=true", "true should be a valid integer"),
        ("task.lambda_cycle=12:30", '"12:30" should be a valid number'),
        ("task.lambda_cycle='1e-4'", '"1e-4" should be a valid number'),
        ("task.note=1", "1 should be a valid string"),
        ("data.flip=no", '"no" should be a valid boolean'),
        ("data.flip=1", "1 should be a valid boolean"),
        ("task.gan.smooth=0", "0 should be a valid boolean"),
        ("task.gan.target=high", '"high" should be a valid number'),
        ("optimizer.betas=[0.5]", "[0.5] should have more values"),
        ("optimizer.betas=[1, 2, 3]", "betas: [1, 2, 3] should have at most 2 items"),
        ("task.gain=fast", "\"fast\" should be a valid number or should be 'auto'"),
    ],
)
def test_C3_a_string_is_never_a_number_nor_a_number_a_string(override: str, why: str, catalog: Catalog) -> None:
    assert why in mistake(SMALL, catalog, override)
    assert override.partition("=")[0] in mistake(SMALL, catalog, override)


def test_C3_no_is_a_string_where_a_string_is_expected(catalog: Catalog) -> None:
    assert parse(SMALL, catalog, "data.root=no").data.keywords["root"] == "no"
    assert "root: no," in parse(SMALL, catalog, "data.root=no").text()


# C4: values.


@pytest.mark.parametrize(
    ("override", "why"),
    [
        ("task.lambda_cycle=-1", "task.lambda_cycle: -1 should be greater than or equal to 0"),
        ("task.lambda_cycle=.nan", "task.lambda_cycle: nan is not a finite number"),
        ("task.lambda_cycle=.inf", "task.lambda_cycle: inf is not a finite number"),
        ("task.lambda_cycle=-.INF", "task.lambda_cycle: -inf is not a finite number"),
        ("task.lambda_cycle=1e999", "task.lambda_cycle: inf is not a finite number"),
        ("task.free=[1, .nan]", "task.free.1: nan is not a finite number"),
        ("task.free=1" + "0" * 30, "task.free: integers must be between -2^53 and 2^53"),
        ("task.pool=1" + "0" * 30, "task.pool: integers must be between -2^53 and 2^53"),
        ("task.pool=9007199254740993", "task.pool: integers must be between"),
        ("task.pool=" + "9" * 5000, "task.pool: inf is not a finite number"),
        ("data.batch_size=1e3", "data.batch_size: 1000.0 should be an integer: write 1000"),
        ("data.batch_size=1.5", "data.batch_size: 1.5 should be a valid integer"),
        ("data.batch_size=0", "data.batch_size: 0 should be greater than 0"),
        ("task.generator.blocks=13", "task.generator.blocks: 13 should be less than or equal to 12"),
        ("task.dropout=1", "task.dropout: 1 should be less than 1"),
        ("task.padding=none", "task.padding: \"none\" should be 'zero' or 'mirror'"),
        ("task.crop={height: a}", 'task.crop.height: "a" should be a valid integer'),
        ("task.note='\"\\ud800\"'", None),
        ('task.note="\\ud800"', "task.note: NUL characters and lone surrogates are not allowed"),
        ('task.note="\\0"', "task.note: NUL characters and lone surrogates are not allowed"),
        ("train.seed=-1", "train.seed: -1 should be greater than or equal to 0"),
        ("train.seed=4294967296", "train.seed: 4294967296 should be less than 4294967296"),
        ("train.ema=1", "train.ema: 1 should be less than 1"),
        ("train.precision=fp8", "train.precision: \"fp8\" should be 'auto', 'fp32', 'bf16' or 'fp16'"),
        ("train=5", "train: 5 should be a mapping, possible keys: epochs, steps, speed, precision, "),
        ("task.crop=5", "task.crop: 5 should be a mapping, possible keys: height, width"),
        ("task.crop={}", "task.crop: the key `height` is missing (rows that are kept)"),
        ("task.crop.height=99", "task.crop: 99 rows are more than there are"),
        ("optimizer={G: {D: {use: adam}}}", "optimizer.G: the key `use` is missing, possible names: adam, sgd"),
        ("metrics={use: kid}", "metrics: "),
        ("metrics=[kid]", 'metrics.0: "kid" should be a mapping'),
        ("optimizer=null", "optimizer: null should be a mapping"),
        ("optimizer={}", "optimizer: the key `use` is missing, possible names: adam, sgd"),
    ],
)
def test_C4_a_wrong_value_is_named_with_its_key_and_the_allowed_values(
    override: str, why: str | None, catalog: Catalog
) -> None:
    if why is None:
        parse(SMALL, catalog, override)
        return
    line = mistake(SMALL, catalog, override)
    assert line.startswith('override "')
    assert why in line
    assert len(line) < 300


def test_C4_2_to_the_53_is_still_an_integer(catalog: Catalog) -> None:
    assert parse(SMALL, catalog, "task.pool=9007199254740992").task.keywords["pool"] == 2**53


# C5: no code execution.

HOSTILE = [
    '!!python/object/apply:os.system ["touch {canary}"]',
    '!!python/object/new:os.system ["touch {canary}"]',
    '!!python/object/apply:subprocess.check_call [[touch, "{canary}"]]',
    "!!python/name:os.system ''",
    "!!python/module:os ''",
    "!!python/tuple [1, 2]",
    "!<tag:yaml.org,2002:python/object/apply:os.system> ['touch {canary}']",
    "!include ../../etc/passwd",
    "!!str 5",
    "!!binary aGFsbG8=",
    "! 5",
]


@pytest.mark.parametrize("value", HOSTILE)
def test_C5_a_tag_is_rejected_and_no_code_runs(value: str, tmp_path: Path, catalog: Catalog) -> None:
    canary = tmp_path / "canary"
    value = value.replace("{canary}", str(canary))
    for text in (f"{SMALL}schedule: {value}\n", value, f"? {value}\n: 1\n", f"task: &a {value}\ndata: *a\n"):
        assert any("tag" in line or "a key must be a plain word" in line for line in mistakes(text, catalog))
    assert any("tag" in line for line in mistakes(SMALL, catalog, f"task.free={value}"))
    assert not canary.exists()


def test_C5_use_accepts_only_registered_names(catalog: Catalog) -> None:
    for name in ("os.system", "subprocess:run", "i2i.config.load", "__import__", "builtins.eval"):
        assert "task.use: unknown task" in mistake(SMALL, catalog, f"task.use={name}")


# C6: aliases.


def test_C6_an_alias_bomb_is_rejected_immediately(catalog: Catalog) -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    start = time.process_time()
    assert "with its aliases expanded, more than" in mistake(bomb, catalog)
    assert time.process_time() - start < 3  # 0.02 on an idle machine; expanded, hours


@pytest.mark.parametrize(
    "text",
    ["a: &a [*a]", "a: &a {b: *a}", "&a [*a, *a]", "a: &a [x]\n" + "".join(f"{i}: *a\n" for i in range(2000))],
)
def test_C6_a_recursive_alias_and_thousands_of_aliases_are_rejected(text: str, catalog: Catalog) -> None:
    assert "with its aliases expanded, more than" in mistake(text, catalog)


def test_C6_an_alias_is_a_copy_and_an_unknown_one_is_rejected(catalog: Catalog) -> None:
    text = SMALL.replace("{use: resnet, blocks: 6}", "&net {use: resnet, blocks: 6}\n  encoder: *net")
    found = parse(text, catalog, "task.encoder.blocks=2")
    assert found.task.keywords["generator"].keywords["blocks"] == 6
    assert found.task.keywords["encoder"].keywords["blocks"] == 2
    assert "*" not in found.text()
    assert mistake(text.replace("*net", "*nte"), catalog) == "dir/small.yaml:4: the alias *nte has no anchor above it"
    wrong = mistakes(text.replace("blocks", "blokcs"), catalog)
    assert [line.partition(": ")[0] for line in wrong] == ["dir/small.yaml:3"] * 2


# C7: shapes that break parsers.


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * 100_000, "1: more than 64 levels deep"),
        ("{a: " * 50_000, "1: more than 64 levels deep"),
        ("- " * 100_000, "1: more than 64 levels deep"),
        ("".join(" " * i + "a:\n" for i in range(200)), "65: more than 64 levels deep"),
        ("task: 1\n" * 9_000, "or more than 5000 values"),
        ("a: " + "x" * 1_000_001, "1: too large"),
        (b"x" * 50_000_000, "1: too large"),
        (SMALL.encode("utf-16"), "1: byte 0xff is not UTF-8, save the file as UTF-8"),
        (SMALL.encode("utf-16-le"), "1: the character U+0000 is not allowed"),
        (b"task: 1\ndata: \xe9\n", "2: byte 0xe9 is not UTF-8"),
        ("task: 1\nda\0ta: 2\n", "2: the character U+0000 is not allowed, remove it"),
        ("task:\n\tuse: fake\n", "2: tabs are not allowed, use spaces"),
        ("task: 1\ndata:\t2\n", "2: tabs are not allowed, use spaces"),
        ("task: 1\n\x1b[31m: 2\n", "2: the character U+001B is not allowed"),
        ("task: {\n  use: fake\ndata: 1\n", "not YAML"),
        ("task: 1\n data: 2\n", "2: not YAML, mapping values are not allowed here"),
        ("a: 'x\n", "not YAML"),
        ("task: 1\n---\ntask: 2\n", "2: a second document starts"),
        ("---\n---\na: 1\n", "2: a second document starts"),
        ("", "1: the config is empty but should be a mapping with the keys task, data, train"),
        ("# nothing\n", "the config is empty but should be a mapping"),
        ("- 1\n", "[1] should be a mapping"),
        ("just words", '"just words" should be a mapping'),
        ("? [a, b]\n: 1\n", "1: a key must be a plain word"),
        ("a: &x b\n*x : 1\n", "2: a key must be a plain word"),
        ('a: "\\UFFFFFFFF"\n', "1: not YAML"),
        ("%YAML 9.9\n---\na: 1\n", "dir/small.yaml"),
        ("a: *\n", "not YAML"),
        ("a: @b\n", "not YAML"),
    ],
)
def test_C7_hostile_or_broken_text_is_rejected_with_its_line_within_a_second(
    text: str | bytes, why: str, catalog: Catalog
) -> None:
    start = time.process_time()
    line = mistakes(text, catalog)[0]
    assert time.process_time() - start < 3  # less than a second, even on a slow machine
    assert line.startswith("dir/small.yaml")
    assert why in line
    assert len(line) < 300


@pytest.mark.parametrize("character", ["a", " ", "#", "\n", "-\n", "[\n", '"', "&a ", "a: ", ": ", "?\n", "\\"])
def test_C7_a_megabyte_of_anything_is_parsed_within_a_second(character: str, catalog: Catalog) -> None:
    start = time.process_time()
    mistakes(character * (999_000 // len(character)), catalog)
    assert time.process_time() - start < 3  # less than a second, even on a slow machine


def test_C7_a_deep_tree_is_rejected_even_if_it_does_not_come_from_yaml(catalog: Catalog) -> None:
    for depth in (70, 500, 100_000):
        tree: Any = 1
        for _ in range(depth):
            tree = [tree]
        with pytest.raises(ConfigError, match=r"64 levels deep|not a plain tree"):
            config.from_dict({**FULL, "task": {**FULL["task"], "free": tree}}, catalog)


def test_C7_a_byte_order_mark_carriage_returns_and_a_tab_in_a_comment_are_fine(catalog: Catalog) -> None:
    plain = parse(SMALL, catalog).tree
    assert parse(b"\xef\xbb\xbf" + SMALL.encode(), catalog).tree == plain
    assert parse("# a\tb\n" + SMALL.replace("\n", "\r\n"), catalog).tree == plain
    assert mistake(SMALL.replace("blocks", "blokcs").replace("\n", "\r\n"), catalog).startswith("dir/small.yaml:3:")
    assert parse("---\n" + SMALL + "...\n", catalog).tree == plain


# C8: no interpolation and no includes.


@pytest.mark.parametrize(
    "value", ["${env:HOME}", "${oc.env:HOME}", "$HOME", "~/x", "${data.root}", "../../etc/passwd"]
)
def test_C8_a_value_is_taken_literally(value: str, catalog: Catalog) -> None:
    found = parse(SMALL.replace("horses", json.dumps(value)), catalog)
    assert found.data.keywords["root"] == value
    assert parse(found.text(), catalog).data.keywords["root"] == value


def test_C8_there_is_no_inheritance(catalog: Catalog) -> None:
    assert "unknown key `defaults`" in mistake(SMALL + "defaults: [base]\n", catalog)
    assert "unknown key `_base_`" in mistake(SMALL + "_base_: a.yaml\n", catalog)
    assert "unknown key `<<`" in mistake(SMALL + "<<: {a: 1}\n", catalog)


# C9: unknown names.


def test_C9_an_unknown_name_is_reported_with_the_nearest_and_the_failed_plugin() -> None:
    catalog = Catalog()
    catalog.task("cyclegan", FakeTask)
    catalog.data("folders", folders)
    catalog.optimizer("adam", adam)
    catalog.failed["i2i_spade"] = "No module named 'spade'"
    lines = mistakes("task: {use: cyclegann}\ndata: {use: folders, root: a}\ntrain: {steps: 1}\n", catalog)
    assert lines == [
        "dir/small.yaml:1: task.use: unknown task 'cyclegann': did you mean cyclegan? "
        "(if it is in your own file, add --plugin FILE); plugin i2i_spade did not load: No module named 'spade'"
    ]


@pytest.mark.parametrize("name", ["5", "[fake]", "{a: b}", "null", "''"])
def test_C9_an_invalid_name_is_an_unknown_name(name: str, catalog: Catalog) -> None:
    assert "task.use: unknown task" in mistake(SMALL, catalog, f"task.use={name}")


def test_C9_a_missing_config_file_is_an_error_that_suggests_a_similar_one(tmp_path: Path, catalog: Catalog) -> None:
    (tmp_path / "cyclegan.yaml").write_text(SMALL)
    assert config.load(tmp_path / "cyclegan.yaml", ["train.steps=3"], catalog).train.steps == 3
    with pytest.raises(ConfigError, match=r"no such file, did you mean cyclegan\.yaml\?"):
        config.load(str(tmp_path / "cyclgan.yaml"), [], catalog)
    with pytest.raises(ConfigError, match=": a folder, not a file"):
        config.load(tmp_path, [], catalog)
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(ConfigError, match=": not a regular file"):
        config.load(tmp_path / "pipe.yaml", [], catalog)


def test_C9_a_plugin_with_unreadable_types_fails_only_when_used(catalog: Catalog) -> None:
    def broken(image: Tensor) -> None: ...

    def forward(image: list[Nothing] = ()) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    own = Catalog()
    own._entries = dict(catalog._entries)
    own.owner = "i2i_broken"
    own.task("broken", broken)
    own.task("forward", forward)
    parse(SMALL, own)
    for name in ("broken", "forward"):
        with pytest.raises(PluginError, match=f"the task '{name}' of i2i_broken cannot be used, .* is not defined"):
            parse(SMALL, own, f"task={{use: {name}}}")
        assert "cannot be used" in config.schema(own)["$defs"][f"task.{name}"]["description"]


# C10: mutually exclusive keys.


def test_C10_epochs_and_steps_are_mutually_exclusive(catalog: Catalog) -> None:
    both = mistake(SMALL, catalog, "train.epochs=2")
    hint = "set one of them to null, e.g. with train.epochs=null"
    assert both == f"dir/small.yaml:6: train: `epochs` is 2 and `steps` is 10, {hint}"
    none = mistake(SMALL.replace("train: {steps: 10}\n", ""), catalog)
    assert none == "dir/small.yaml:1: train: neither `epochs` nor `steps` is given, give one of them"
    assert parse(SMALL, catalog, "train.steps=null", "train.epochs=0.5").train.epochs == 0.5


# Overrides.


def test_an_override_can_set_a_key_missing_from_the_file(catalog: Catalog) -> None:
    found = parse(
        SMALL, catalog, "optimizer.lr=1e-3", "schedule.use=linear_decay", "schedule.start=3", "task.sizes=[1]"
    )
    assert found.optimizer.keywords["lr"] == 1e-3
    assert found.schedule() == (3.0, 1.0)
    assert found.task.keywords["sizes"] == (1,)
    assert parse(SMALL, catalog, "data.root=a", "data.root=b=c").data.keywords["root"] == "b=c"


@pytest.mark.parametrize(
    ("override", "why"),
    [
        ("train.stpes=3", "train.stpes: unknown key `stpes`, did you mean `steps`?"),
        ("task.generatr.blocks=3", "task.generatr: unknown key `generatr`, did you mean `generator`?"),
        ("tsak.pool=3", "tsak: unknown key `tsak`, did you mean `task`?"),
        ("train.steps.x=1", "`train.steps` is 10 and has no `x`"),
        ("metrics.0.samples=1", "`metrics` is [] and has no `0`"),
        ("task.sizes.x=1", "task.sizes"),
        ("train.steps", "should be KEY=VALUE, e.g. train.steps=100"),
        (
            "data.root=my pictures #1",
            "` #` begins a comment in YAML; quote the value, data.root='\"my pictures #1\"'",
        ),
        ("=1", "should be KEY=VALUE"),
        ("a..b=1", "should be KEY=VALUE"),
        ("train.steps=[1", "not YAML"),
        ("train.steps=1\n--- 2", "a second document"),
        ("task.free={a: 1, a: 2}", "duplicate key `a`"),
        ("task.note=\t", "tabs are not allowed"),
    ],
)
def test_a_wrong_override_is_named_instead_of_a_line(override: str, why: str, catalog: Catalog) -> None:
    line = mistake(SMALL, catalog, override)
    assert line.startswith("override ")
    assert why in line
    assert "small.yaml" not in line


def test_errors_point_to_the_override_or_to_the_line_of_the_file(catalog: Catalog) -> None:
    text = SMALL.replace("{use: lsgan}", "{use: lsgan, targt: 1}")
    assert mistakes(text, catalog, "task.generator={use: resnet, blocks: x}") == [
        'override "task.generator={use: resnet, blocks: x}": task.generator.blocks: "x" should be a valid integer',
        "dir/small.yaml:4: task.gan.targt: unknown key `targt`, did you mean `target`?",
    ]


# The config stored with weights.


def test_loading_the_task_of_weights_needs_neither_data_nor_metrics(catalog: Catalog) -> None:
    own = Catalog()
    own.task("fake", FakeTask)
    own.network("resnet", net)
    own.loss("lsgan", lsgan)
    text = config.from_dict(FULL, catalog).text()
    tree, build = config.task_of(text, "model.safetensors", own)
    assert tree == FULL
    assert build().generator == "net 4 6 batch"
    with pytest.raises(ConfigError, match=r"model\.safetensors:1: the key `task` is missing"):
        config.task_of("data: 1\n", "model.safetensors", own)


@pytest.mark.parametrize(
    "tree", [None, 5, [], "task", {"task": object()}, {1: 2, "task": {3}}, {"task": {"use": b"x"}}]
)
def test_a_tree_of_unsupported_types_is_rejected(tree: Any, catalog: Catalog) -> None:
    with pytest.raises(ConfigError, match=r"^weights: "):
        config.from_dict(tree, catalog, "weights")


# The schema for editors.


def test_the_schema_describes_every_part_and_all_references_resolve(catalog: Catalog) -> None:
    found = config.schema(catalog)
    defs = found["$defs"]
    assert found["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert found["required"] == ["task", "data", "train"]
    for entry in catalog:
        assert {"$ref": f"#/$defs/{entry.kind}.{entry.name}"} in defs[entry.kind]["anyOf"]
        assert defs[f"{entry.kind}.{entry.name}"]["properties"]["use"] == {"const": entry.name}
    task = defs["task.fake"]
    assert task["description"] == "A task with every kind of parameter."
    assert task["required"] == ["use", "generator", "gan"]
    assert task["additionalProperties"] is False
    assert task["properties"]["generator"]["$ref"] == "#/$defs/network"
    assert task["properties"]["generator"]["description"] == "network [N, 3, H, W] that translates"
    assert task["properties"]["lambda_cycle"] == {
        "type": "number",
        "minimum": 0,
        "default": 10.0,
        "description": "weight of eq. 2",
    }
    assert all(key["description"] for key in defs["record.i2i.config.experiment.Train"]["properties"].values())

    def references(node: Any) -> Iterator[str]:
        for key, value in (
            node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        ):
            if key == "$ref":
                yield value
            yield from references(value)

    assert defs[f"record.{__name__}.Crop"]["properties"]["height"]["description"] == "rows that are kept"
    assert "$part" not in json.dumps(found)
    assert {ref.removeprefix("#/$defs/") for ref in references(found)} <= set(defs)


# C11: changed keys.


def test_C11_changed_lists_the_dotted_keys_that_differ(catalog: Catalog) -> None:
    old = parse(SMALL + "metrics: [{use: kid}]\n", catalog)
    new = parse(SMALL + "metrics: [{use: kid}]\n", catalog, "train.steps=20", "metrics.0.samples=7", "task.sizes=[1]")
    assert config.changed(old.tree, new.tree) == ["task.sizes", "train.steps", "metrics.0.samples"]
    assert config.changed(old.tree, copy.deepcopy(old.tree)) == []
    assert config.changed({"a": 1, "b": {"c": 1}}, {"a": True, "d": None}) == ["a", "b", "d"]


# C13: arbitrary input.

odd = ["no", "1e-4", "null", "a: b", "- x", "#", "010", "...", "\x85", "\u2028", "\U0001f600", " ", "~", ".5", "use"]
damage = st.text(max_size=4) | st.sampled_from(
    ["*a ", "&a ", "!!int ", "\n---\n", "? ", "|\n", ">-\n", "%Y\n", "\r", "'"]
)
words = st.text(max_size=12) | st.sampled_from(odd)
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | numbers | words
plain = st.recursive(
    scalars, lambda x: st.lists(x, max_size=4) | st.dictionaries(words, x, max_size=4), max_leaves=12
)
bad = [float("nan"), float("inf"), 10**30, "\ud800", "\0", {"\udc80": 1}, {"use": "resnet"}, {"use": {}}, [], {}]
junk = plain | st.sampled_from(bad)
ALL_PATHS = [path for path in key_paths(FULL)]


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a config from the schema with a few keys removed, renamed, added or given other values."""
    tree = copy.deepcopy(FULL)
    for path in draw(st.lists(st.sampled_from(ALL_PATHS), max_size=4, unique=True)):
        try:
            above = at(tree, path[:-1])
            match draw(st.sampled_from(["set", "drop", "rename", "add"])):
                case "set":
                    above[path[-1]] = draw(junk)
                case "drop":
                    del above[path[-1]]
                case "rename":
                    above[draw(words)] = above.pop(path[-1])
                case "add":
                    above[draw(words)] = draw(junk)
        except (KeyError, IndexError, TypeError, AttributeError):
            pass  # an earlier change removed this path
    return tree


relaxed = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


def check(text: str | bytes, found: Config, catalog: Catalog) -> None:
    again = config.parse(found.text(), "small.yaml", [], catalog)
    assert again.tree == found.tree, text
    assert again.text() == found.text()


@relaxed
@given(tree=mutated())
def test_C13_a_mutated_tree_is_valid_and_a_fixed_point_or_a_config_error(
    tree: dict[str, Any], catalog: Catalog
) -> None:
    try:
        found = config.from_dict(tree, catalog)
    except ConfigError as error:
        str(error).encode("utf-8")
        return
    check(repr(tree), found, catalog)


@relaxed
@given(value=plain, note=words)
def test_C13_any_plain_value_survives_a_round_trip(value: Any, note: str, catalog: Catalog) -> None:
    tree = {**FULL, "task": {**FULL["task"], "free": value, "note": note}}
    try:
        found = config.from_dict(tree, catalog)
    except ConfigError as error:
        assert "NUL" in str(error)  # noqa: PT017
        return
    assert found.task.keywords["free"] == value
    assert json.dumps(found.tree["task"]["free"]) == json.dumps(value)
    check(repr(tree), found, catalog)


@relaxed
@given(data=st.data())
def test_C13_damaged_text_is_valid_or_a_config_error(data: st.DataObject, catalog: Catalog) -> None:
    text = config.from_dict(FULL, catalog).text()
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = start + data.draw(st.integers(0, 8))
        text = text[:start] + data.draw(damage) + text[end:]
    try:
        found = parse(text, catalog)
    except ConfigError as error:
        str(error).encode("utf-8")
        return
    check(text, found, catalog)


@relaxed
@given(text=st.text(max_size=60), key=st.sampled_from([".".join(map(str, path)) for path in ALL_PATHS]))
def test_C13_any_override_is_valid_or_a_config_error(text: str, key: str, catalog: Catalog) -> None:
    for override in (text, f"{key}={text}", f"{key}.{text}", f"{text}.{key}=1"):
        try:
            check(override, parse(SMALL, catalog, override), catalog)
        except ConfigError as error:
            str(error).encode("utf-8")


def test_a_list_in_place_of_overrides_is_one_sentence(tmp_path: Path) -> None:
    for call in (functools.partial(i2i.run, "cyclegan"), functools.partial(i2i.evaluate, tmp_path)):
        with pytest.raises(
            ConfigError, match=r"KEY=VALUE; give several one by one, or a list as \*overrides$|not a run"
        ):
            call(["train.steps=3"])
    with pytest.raises(ConfigError, match=r"^overrides='task.pool=3': should be a list, \['task.pool=3'\]$"):
        i2i.load("upscale-x2", overrides="task.pool=3")
