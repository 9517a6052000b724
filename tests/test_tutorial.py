"""The tutorial, and the package that `i2i new` writes, in a fresh environment with i2i installed as a wheel."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a virtual environment with i2i installed, not linked; of the dependencies it sees those installed here."""
    folder = tmp_path_factory.mktemp("fresh")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "env")], check=True)
    site = next((folder / "env" / "lib").glob("python*/site-packages"))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    source = folder / "source"
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "i2i", "plugins", "configs"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-r", str(ROOT / name), str(source / name)], check=True)
    install(folder / "env", source)
    return folder / "env"


def install(env: Path, source: Path) -> None:
    pip = [
        str(env / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        str(source),
    ]
    done = subprocess.run(pip, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def sh(script: str, cwd: Path, env: Path) -> subprocess.CompletedProcess[str]:
    """Run a shell script with the fresh environment first on the path."""
    variables = {**os.environ, "PATH": f"{env / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(cwd)}
    return subprocess.run(
        ["bash", "-ec", script], cwd=cwd, env=variables, capture_output=True, text=True, timeout=200
    )


def blocks(text: str) -> list[tuple[str, str, str]]:
    """Return (language, the paragraph before, content) of the fenced blocks of a page."""
    parts = re.split(r"^```(\w*)\n(.*?)^```$", text, flags=re.M | re.S)
    return [(parts[i + 1], parts[i], parts[i + 2]) for i in range(0, len(parts) - 1, 3)]


def test_the_tutorial_runs_as_written(fresh: Path, tmp_path: Path) -> None:
    ran = []
    for language, before, content in blocks((ROOT / "docs" / "tutorial.md").read_text()):
        named = re.findall(r"[Ss]ave this as\s+`([\w.]+)`", before) or re.findall(
            r"\A# (\S+\.py)$", content, flags=re.M
        )
        if language == "sh":
            done = sh(content, tmp_path, fresh)
            assert done.returncode == 0, done.stdout + done.stderr
            ran.append(done.stdout + done.stderr)
        elif named:
            (tmp_path / named[-1]).write_text(content)
        else:
            compile("class Fragment:\n" + textwrap.indent(textwrap.dedent(content), "    "), "tutorial", "exec")
    assert len(ran) == 3
    assert (tmp_path / "runs" / "denoise" / "report.html").exists()
    assert len(list((tmp_path / "cleaned").glob("*.png"))) == 1
    assert "did you mean `noise`?" in ran[1]
    assert "exit code 2" in ran[1]
    assert (tmp_path / "runs" / "stripes" / "model.safetensors").exists()
    tests = sh("python -m pytest -q -p no:cacheprovider test_denoise.py test_stripes.py", tmp_path, fresh)
    assert "2 passed" in tests.stdout, tests.stdout + tests.stderr


def test_the_task_of_the_tutorial_has_25_lines_of_code() -> None:
    content = next(
        c for language, before, c in blocks((ROOT / "docs" / "tutorial.md").read_text()) if language == "python"
    )
    code = [line for line in content.splitlines() if line.strip() and not line.strip().startswith(("#", '"""'))]
    assert len(code) <= 25


def test_a_new_package_installs_passes_its_tests_and_trains(fresh: Path, tmp_path: Path) -> None:
    made = sh("i2i new glow", tmp_path, fresh)
    assert made.returncode == 0, made.stderr
    package = tmp_path / "i2i-glow"
    install(fresh, package)
    tests = sh("python -m pytest -q -p no:cacheprovider", package, fresh)
    assert "3 passed" in tests.stdout, tests.stdout + tests.stderr
    few = "data.samples=4 data.validation_samples=2 train.steps=4 train.log_every=2"
    done = sh(f"i2i plugins && i2i run glow {few}", package, fresh)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^glow +i2i-glow 0\.1\.0 +ok$", done.stdout, flags=re.M)
    assert (package / "runs" / "glow" / "model.safetensors").exists()
    shipped = (
        "from importlib.resources import files; print(files('i2i_glow').joinpath('configs/glow.yaml').is_file())"
    )
    assert sh(f'python -c "{shipped}"', fresh.parent, fresh).stdout == "True\n"
    again = sh("i2i new glow", tmp_path, fresh)
    assert again.returncode == 2
    assert "already exists" in again.stderr
    odd = sh("i2i new Gl-ow", tmp_path, fresh)
    assert odd.returncode == 2
    assert "lower-case letters" in odd.stderr


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cells = json.loads((ROOT / "docs" / "i2i.ipynb").read_text())["cells"]
    notebook = ModuleType("notebook")
    monkeypatch.setitem(sys.modules, "notebook", notebook)  # where its class is looked up
    variables: dict[str, Any] = notebook.__dict__
    for cell in cells:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            exec(compile("".join(cell["source"]), "i2i.ipynb", "exec"), variables)
    assert variables["large"].size == (256, 192)
    assert variables["digits"].shape == (8, 1, 28, 28)
    assert variables["sevens"].shape == (8, 1, 32, 32)
