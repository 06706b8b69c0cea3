"""What the ranking of links reads."""

from pathlib import Path

import pytest
import typer

from benchmarks.rank_links import Fact, read_facts, read_lama


def test_facts_are_read(tmp_path: Path) -> None:
    lines = tmp_path / "test.txt"
    lines.write_text("IsA\tdog\tanimal\n")
    assert read_facts(lines) == [Fact("IsA", "dog", "animal")]
    lama = tmp_path / "facts.jsonl"
    lama.write_text('{"pred": "IsA", "sub_label": "dog", "obj_label": "animal"}\n')
    assert read_lama(lama) == {Fact("IsA", "dog", "animal")}


def test_what_is_no_fact_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "test.txt"
    with pytest.raises(typer.BadParameter, match="there is no file"):
        read_facts(path)
    with pytest.raises(typer.BadParameter, match="there is no file"):
        read_lama(path)
    path.write_text("IsA\tdog\tanimal\nIsA\tdog\n")
    with pytest.raises(typer.BadParameter, match=r"line 2 of .* has 2 parts"):
        read_facts(path)
    path.write_text('{"pred": "IsA"}\n')
    with pytest.raises(typer.BadParameter, match=r"line 1 of .* is no JSON object with pred"):
        read_lama(path)
