"""A service in this process, and rows for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.service import Service
from app.settings import load_settings

SUBJECTS = (
    *("linen", "cotton", "stone", "water", "dog", "cat"),
    *("bird", "knife", "shirt", "house", "tree", "car"),
)
RELATIONS = ("IsA", "MadeOf", "UsedFor", "PartOf")


@pytest.fixture(scope="session")
def service(base_folder: Path, pack_folder: Path) -> Iterator[Service]:
    settings = load_settings({"base": str(base_folder), "packs": str(pack_folder), "threads": "2"})
    service = Service.load(settings)
    yield service
    service.close()


def rows(count: int) -> list[dict[str, str]]:
    """Rows of many subjects and four relations, no two after each other with one relation."""
    return [
        {
            "id": f"row, {number}",
            "subject": f"{SUBJECTS[number % 12]} and {SUBJECTS[number // 12 % 12]}",
            "relation": RELATIONS[number % 4],
        }
        for number in range(count)
    ]
