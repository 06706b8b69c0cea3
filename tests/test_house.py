"""Imports point one way, and only the composition root knows both ends."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("app", "masks", "plm", "training")


def imported(path: Path) -> set[str]:
    """Top-level names a file imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


def test_the_import_contracts_hold() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_no_package_knows_the_command_line(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        assert "relata" not in imported(path), path


def test_only_the_composition_root_knows_both_the_service_and_training() -> None:
    sources = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    both = [
        path for path in (*sources, ROOT / "relata.py") if {"app", "training"} <= imported(path)
    ]
    assert both == [ROOT / "relata.py"]


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import masks", ("torch", "transformers", "fastapi")),
        ("import masks.transfer", ("torch", "httpx", "fsspec", "huggingface_hub")),
        ("import plm", ("transformers", "fastapi")),
        ("import relata", ("torch", "transformers", "fastapi", "app", "training")),
    ],
)
def test_what_an_import_does_not_pull_in(statement: str, absent: tuple[str, ...]) -> None:
    code = f"import sys; {statement}; print([name for name in {absent!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
