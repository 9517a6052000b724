"""`i2i verify` and `i2i record`: published numbers agree, the ledger is up to date, records can be trained again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from i2i_verify import ledger, parity, records
from i2i_verify.learning import Check, rerun
from typer.testing import CliRunner

from i2i import ConfigError, DataError, cli
from i2i.testing import read_config, shipped_configs

ROOT = Path(__file__).parent.parent
RECORDS = sorted(path.parent for path in (ROOT / "records").rglob("record.json"))
ENTRIES = [entry for method in ledger.methods() for entry in method.parity]
SMALL = """\
task:
  use: vae
  encoder: {use: dense_encoder, widths: [8]}
  decoder: {use: dense_decoder, widths: [8]}
  latent: 2
  size: 28
data: {use: digits, size: 28, batch_size: 8, samples: 16, validation_samples: 8}
optimizer: {use: adam, lr: 1.0e-3}
train: {steps: 2, seed: 0}
"""


def ran(*words: str) -> Any:
    """Run a command as `i2i` does."""
    return CliRunner().invoke(cli.app, list(words))


# ---- parity


@pytest.mark.parametrize(
    "entry", ENTRIES, ids=lambda entry: f"{entry['config']} {' '.join(entry.get('overrides', []))}"
)
def test_networks_shapes_and_update_order_are_the_published_ones(entry: dict[str, Any]) -> None:
    found = parity.findings(entry)
    assert found
    assert [one for one in found if not one.agrees] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"parameters": {"encoder+decoder": 652825}},
        {"shapes": [{"call": "encode", "given": [[3, 1, 28, 28]], "made": [3, 21]}]},
        {"batch": {"image": [4, 1, 28, 28]}, "order": ["vae", "vae"]},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_number_that_differs_is_found(wrong: dict[str, Any]) -> None:
    (found,) = parity.findings({"config": "real/vae_mnist", "source": "none", **wrong})
    assert not found.agrees


def test_parity_needs_no_values() -> None:
    before = torch.get_rng_state()
    parity.findings(ENTRIES[0])
    assert torch.equal(torch.get_rng_state(), before)


def test_verify_exits_with_1_where_a_number_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"config": "real/vae_mnist", "source": "nobody", "parameters": {"encoder": 1}}
    method = ledger.Method("vae", "VAE", ("vae",), (entry,), ())
    monkeypatch.setattr(ledger, "methods", lambda: [method])
    done = ran("verify", "vae", "--quick")
    assert done.exit_code == 1
    assert "parameters of encoder: 1 (nobody): DIFFERS, 330,040 here" in done.output


def test_verify_reports_a_config_with_its_distance_from_the_paper() -> None:
    done = ran("verify", "paper/dcgan", "--quick")
    assert done.exit_code == 0
    assert "paper/dcgan: parameters of generator: 3,576,704" in done.output
    assert "paper/sngan: parameters" not in done.output
    assert ledger.chosen("gan").distance() in done.output


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("cycelgan", r"did you mean cyclegan\?"),
        ("paper/dcgn", r"did you mean paper/dcgan\?"),
        ("x", r"give a method \(cyclegan, pix2pix"),
    ],
)
def test_an_unknown_name_is_an_error_with_the_nearest_or_all_methods(name: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=f"'{name}' is not in the ledger: {hint}"):
        ledger.chosen(name)


@pytest.mark.parametrize("words", [("verify",), ("verify", "vae", "--all")])
def test_verify_takes_a_name_or_all(words: tuple[str, ...]) -> None:
    assert "give either the name of a method, such as cyclegan, or --all" in str(ran(*words).exception)


# ---- the learning check


@pytest.mark.parametrize(("name", "seconds"), [("vae", 10), ("trajectory", 10)])
def test_a_learning_check_reaches_its_bar(name: str, seconds: int) -> None:
    (check,) = ledger.chosen(name).learning
    score, took = rerun(check)
    assert check.passes(score)
    assert took < 5 * seconds


def test_without_training_the_bar_is_missed() -> None:
    (check,) = ledger.chosen("vae").learning
    lines: list[str] = []
    untrained = Check(**{**vars(check), "overrides": (*check.overrides, "train.steps=1")})
    assert not ledger.checked(untrained, lines.append)
    assert "MISSED >= -175" in lines[0]


def test_every_method_has_a_learning_check_whose_bar_lies_between_start_and_result() -> None:
    for method in ledger.methods():
        assert method.learning, method.name
        for check in method.learning:
            read_config(check.config, *check.overrides)
            assert check.passes(check.reached), method.name
            assert not check.passes(check.start), method.name


def test_an_unknown_score_is_an_error_that_lists_the_scores(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(SMALL)
    check = Check(str(tmp_path / "a.yaml"), (), "psnr/db", 0, 1, 0.5, 1)
    with pytest.raises(ConfigError, match=r"no score psnr/db, only .*validation/elbo"):
        rerun(check)


# ---- the ledger


def test_the_ledger_is_up_to_date() -> None:
    stale = "docs/ledger.md is stale: run `i2i verify --all --quick`"
    assert (ROOT / "docs" / "ledger.md").read_text() == ledger.page(ROOT / "docs"), stale


def test_every_shipped_config_of_i2i_is_in_the_ledger_once() -> None:
    own = [one.name for one in shipped_configs() if one.owner == "i2i"]
    listed = [name for method in ledger.methods() for name, _, _ in method.configs()]
    assert sorted(listed) == sorted(own)


def test_every_method_from_a_paper_says_how_far_it_is_from_it() -> None:
    silent = [method.name for method in ledger.methods() if method.distance().startswith("Not a method")]
    assert silent == ["relief"]


def test_every_link_of_the_ledger_leads_to_a_file() -> None:
    import re

    links = re.findall(r"\]\(((?!https?:)[^)#]+)", (ROOT / "docs" / "ledger.md").read_text())
    assert links
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []


# ---- records


@pytest.mark.parametrize("folder", RECORDS, ids=lambda folder: f"{folder.parent.name}/{folder.name}")
def test_a_record_is_complete_and_reaches_its_bar(folder: Path) -> None:
    bar, kept = records.Bar.read(folder.parent), records.read(folder / "record.json")
    read_config(folder / "config.yaml")
    assert bar.reached(kept["score"])
    assert {"cpu_minutes", "commit", "machine", "date", "note", "command"} <= set(kept)
    steps = [json.loads(line)["step"] for line in (folder / "log.jsonl").read_text().splitlines()]
    assert max(steps) > 0


def bar_of(folder: Path, **bar: Any) -> Path:
    """Create the folder of a task with its bar, and return it."""
    folder.mkdir()
    (folder / "bar.json").write_text(json.dumps({"score": "validation/elbo", "data": "eight digits", **bar}))
    (folder / "small.yaml").write_text(SMALL)
    return folder


def test_a_record_is_made_and_checked(tmp_path: Path) -> None:
    task = bar_of(tmp_path / "vae", at_least=-1000)
    made = ran("record", "new", str(task / "first"), "--config", str(task / "small.yaml"), "--note", "two steps")
    assert made.exit_code == 0, made.output
    kept = json.loads((task / "first" / "record.json").read_text())
    assert 0 < kept["cpu_minutes"] < 2
    assert kept["note"] == "two steps"
    assert (task / "first" / "config.yaml").read_text() == SMALL
    (task / "bar.json").write_text(json.dumps({"score": "validation/elbo", "at_least": -1, "data": "eight digits"}))
    again = ran("record", "check", str(tmp_path))
    assert again.exit_code == 1
    assert "MISSED validation/elbo >= -1 on eight digits" in again.output
    assert f"{kept['score']:.2f} in" in again.output


def test_what_misses_the_bar_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = bar_of(tmp_path / "vae", at_most=5)
    monkeypatch.setattr(records, "train", lambda config, bar, root: records.Trained(6.0, 0.1, b""))
    assert ran("record", "new", str(task / "a"), "--config", str(task / "small.yaml")).exit_code == 1
    assert not (task / "a").exists()


@pytest.mark.parametrize(
    ("words", "kind", "why"),
    [
        (("check", "nowhere"), ConfigError, "nowhere: no record here"),
        (("new", "vae/a"), ConfigError, "--config None: no such file"),
        (("new", "vae", "--config", "vae/small.yaml"), ConfigError, "vae already exists"),
        (("new", "other/a", "--config", "vae/small.yaml"), DataError, "other/bar.json: cannot be read as JSON"),
        (
            ("new", "bad/a", "--config", "vae/small.yaml"),
            DataError,
            "needs score, data and either at_least or at_most",
        ),
    ],
)
def test_mistakes_are_one_sentence(
    words: tuple[str, ...], kind: type[Exception], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bar_of(tmp_path / "vae", at_most=5)
    bar_of(tmp_path / "bad")
    monkeypatch.chdir(tmp_path)
    done = ran("record", *words)
    assert isinstance(done.exception, kind)
    assert why in str(done.exception)
