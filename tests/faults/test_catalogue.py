"""The table of cases is complete, and every test and result that it names exists."""

from __future__ import annotations

import ast
import functools
import importlib.util
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from .cases import CASES, FAMILIES, Case

ROOT = Path(__file__).parents[2]


@functools.cache
def names_in(file: str) -> set[str]:
    """Return the names of the tests in a file below tests/; empty if there is no such file."""
    path = ROOT / "tests" / file
    tree = ast.parse(path.read_text()) if path.is_file() else ast.Module([], [])
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_every_case_of_the_catalogue_is_in_the_table_once_and_in_order() -> None:
    assert sum(count for _, count in FAMILIES.values()) == 141
    expected = [f"{letter}{n}" for letter, (_, count) in FAMILIES.items() for n in range(1, count + 1)]
    assert [case.id for case in CASES] == expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_case_names_what_shows_it_or_says_why_nothing_does(case: Case) -> None:
    assert case.fault
    assert case.answer
    assert bool(case.where) == (case.state == "held") != bool(case.why)
    for place in case.where:
        file, _, name = place.partition("::")
        if name:
            assert name in names_in(file), f"{case.id}: there is no test {place}"
        else:
            assert file.startswith("benchmarks/results/"), f"{case.id}: {place} is neither a test nor a result"
            assert (ROOT / file).is_file(), f"{case.id}: {place} does not exist"


def test_tests_of_this_folder_that_carry_the_name_of_a_case_are_in_the_table() -> None:
    """Those with an F may be named after a reported fault instead, so they are left out."""
    named = Counter(place for case in CASES for place in case.where)
    for path in Path(__file__).parent.glob("test_*.py"):
        for name in names_in(f"faults/{path.name}"):
            family, number = name[5], name[6:].partition("_")[0]
            if family in FAMILIES and family != "F" and number.isdigit() and int(number) <= FAMILIES[family][1]:
                case = next(case for case in CASES if case.id == f"{family}{number}")
                shown = named[f"faults/{path.name}::{name}"] or name in case.why
                assert shown, f"{path.name}: {name} is not in the table"


def script(file: str) -> Any:
    """Import a file that is not in a package."""
    spec = importlib.util.spec_from_file_location(Path(file).stem, ROOT / file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_make_docs_writes() -> None:
    written = script("docs/make_reliability.py").page()
    assert (ROOT / "docs" / "reliability.md").read_text() == written, "run `make docs`"


def test_each_planted_bug_still_fits_the_sources() -> None:
    mutants = script("benchmarks/mutants.py").MUTANTS
    assert len({mutant.name for mutant in mutants}) == len(mutants) >= 10
    for mutant in mutants:
        source = (ROOT / mutant.file).read_text()
        assert source.count(mutant.old) == 1, f"benchmarks/mutants.py: {mutant.name}: update its text"
        assert (ROOT / mutant.tests[0]).is_file()


def recorded(name: str) -> Any:
    """Return the figures of a campaign."""
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())


def test_each_planted_bug_was_caught() -> None:
    """The figures are of all bugs in the list, and of no others."""
    figures, mutants = recorded("mutants"), script("benchmarks/mutants.py").MUTANTS
    assert [*figures["mutants"]] == [mutant.name for mutant in mutants]
    assert all(figure["caught_by"] for figure in figures["mutants"].values())


def test_the_recorded_campaigns_lost_nothing() -> None:
    assert recorded("kills")["runs_that_differ"] == 0
    assert recorded("kills")["kinds"].keys() == script("benchmarks/tiny.py").CONFIGS.keys()
    assert all(figures["kills"] > 0 for figures in recorded("kills")["kinds"].values())
    assert recorded("flips")["silent"] == recorded("flips")["crashed"] == 0
    assert recorded("syscalls")["found"] == []
    served = recorded("serve")
    assert served["wrong"] == []
    assert all(after <= before * 1.05 + 20 for before, after in served["memory_mb"].values())
    assert served["schemathesis"]["requests"] == served["schemathesis"]["passed"] > 0
    endless = recorded("endless")
    assert endless["growth"] < 0.05
    assert endless["files"][0] >= endless["files"][1]


def test_figures_of_two_campaigns_are_added() -> None:
    old = {"kills": 2, "kinds": {"vae": {"kills": 2}}, "found": [1], "calls": 9}
    new = {"kills": 3, "kinds": {"gan": {"kills": 3}}, "found": [2], "calls": 8}
    both = {"kills": 5, "kinds": {"vae": {"kills": 2}, "gan": {"kills": 3}}, "found": [1, 2], "calls": 8}
    assert script("benchmarks/tally.py").added(old, new) == both
