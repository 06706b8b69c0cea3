"""What was measured is kept, and gone on with."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from training.data import DataError
from training.unions import Record, Settings

SETTINGS = Settings("sha256:q", "sha256:b", "answer", "default", {"A": "sha256:1", "B": "sha256:2"})
ANSWERS = (0, 1, 2)


def opened(folder: Path, settings: Settings = SETTINGS) -> Record:
    return Record(folder, settings, ANSWERS)


def filled(folder: Path) -> Path:
    with opened(folder) as record:
        assert record.add((), np.array([0, 0, 0])).tolist() == [True, False, False]
        record.add(("A", "B"), np.array([0, 1, 0]))
        return record.path


def test_unions_are_there_again(tmp_path: Path) -> None:
    filled(tmp_path / "new" / "out")
    with opened(tmp_path / "new" / "out") as record:
        assert len(record) == 2
        assert () in record
        assert ("A",) not in record
        assert record.found["A", "B"].tolist() == [True, True, False]
        record.add(("A",), np.array([0, 1, 2]))
    with opened(tmp_path / "new" / "out") as record:
        assert list(record.found) == [(), ("A", "B"), ("A",)]


@pytest.mark.parametrize("cut", [1, 9, 25])
def test_a_line_that_was_not_written_to_its_end(tmp_path: Path, cut: int) -> None:
    path = filled(tmp_path)
    path.write_bytes(path.read_bytes()[:-cut])
    with opened(tmp_path) as record:
        assert list(record.found) == [()]
        record.add(("A", "B"), np.array([0, 1, 2]))
    with opened(tmp_path) as record:
        assert record.found["A", "B"].tolist() == [True] * 3


def test_a_header_that_was_not_written_to_its_end(tmp_path: Path) -> None:
    path = filled(tmp_path)
    path.write_bytes(path.read_bytes()[:20])
    with opened(tmp_path) as record:
        assert len(record) == 0
    filled(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (replace(SETTINGS, scoring="pll"), "scoring was 'answer' and is 'pll'"),
        (replace(SETTINGS, questions="sha256:x"), "questions was 'sha256:q' and is 'sha256:x'"),
        (replace(SETTINGS, base="sha256:x"), "base was 'sha256:b'"),
        (replace(SETTINGS, masks={"A": "sha256:1", "B": "sha256:3"}), "masks of B"),
        (replace(SETTINGS, masks={"A": "sha256:1", "C": "sha256:3"}), "masks of B, C"),
    ],
)
def test_other_settings_are_refused_and_nothing_is_lost(
    tmp_path: Path, settings: Settings, message: str
) -> None:
    path = filled(tmp_path)
    before = path.read_bytes()
    with pytest.raises(DataError, match=message):
        opened(tmp_path, settings)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "[]",
        json.dumps({"relations": ["A"], "best": [0, 1]}),
        json.dumps({"relations": "A", "best": [0, 1, 2]}),
        json.dumps({"relations": ["A"], "best": [0, True, 2]}),
    ],
)
def test_a_line_of_something_else(tmp_path: Path, line: str) -> None:
    path = filled(tmp_path)
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match=r"line 4 of .* is not what was written there"):
        opened(tmp_path)


def test_a_file_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text('{"format": "other"}\n')
    with pytest.raises(DataError, match="holds no results of `relata unions`"):
        opened(tmp_path)
