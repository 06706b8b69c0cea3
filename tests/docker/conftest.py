"""Where the deployment's files are, and the real programs that check them."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"


def program(name: str, *, package: str) -> str:
    """Path of a program; skips the test, saying which package has it, where it is missing."""
    places = os.pathsep.join(
        (str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin")
    )
    found = shutil.which(name, path=places)
    if found is None:
        pytest.skip(f"{name} is not installed ({package})")
    return found


def read_yaml(path: Path) -> Any:
    """A YAML file's content."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))
