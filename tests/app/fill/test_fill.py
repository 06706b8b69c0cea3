"""Bulk completion against the answers that a server would give one by one."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as arrow
import pytest
from pyarrow import parquet

from app.errors import RequestError
from app.fill import FillError, FillOptions, FillProgress, fill
from app.schemas.completion import CompletionAnswer
from masks import UnknownRelationError
from tests.app.fill.conftest import RELATIONS, rows

if TYPE_CHECKING:
    from app.service import Service
    from tests.app.conftest import RunRelata

OPTIONS = FillOptions(top_k=3)
Row = dict[str, Any]


def write(path: Path, records: Sequence[Row]) -> Path:
    if path.suffix == ".parquet":
        parquet.write_table(arrow.Table.from_pylist(list(records)), path, row_group_size=100)
    elif path.suffix == ".jsonl":
        path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    else:
        with path.open("w", newline="") as file:
            delimiter = "," if path.suffix == ".csv" else "\t"
            writer = csv.DictWriter(file, list(records[0]), delimiter=delimiter)
            writer.writeheader()
            writer.writerows(records)
    return path


def read(path: Path) -> list[Row]:
    """Rows with `found` (objects and scores) and `error`, whatever the format."""
    if path.suffix in (".csv", ".tsv"):
        with path.open(newline="") as file:
            table = list(csv.DictReader(file, delimiter="," if path.suffix == ".csv" else "\t"))
        for row in table:
            places = range(1, 1 + sum(name.startswith("object_") for name in row))
            pairs = [(row.pop(f"object_{k}"), row.pop(f"score_{k}")) for k in places]
            row["found"] = [(word, float(score)) for word, score in pairs if word]
            row["error"] = row["error"] or None
        return table
    if path.suffix == ".parquet":
        table = parquet.read_table(path).to_pylist()
    else:
        table = [json.loads(line) for line in path.read_text().splitlines()]
    for row in table:
        row["found"] = [(one["object"], one["score"]) for one in row.pop("completions")]
    return table


def asked_singly(service: Service, records: Sequence[Row], **fields: object) -> list[Row]:
    expected = []
    for record in records:
        body = {"subject": record["subject"], "relation": record["relation"], "top_k": 3} | fields
        answer = service.ask_now(service.features.completion, body)
        assert isinstance(answer, CompletionAnswer)
        found = [
            (one["object"], pytest.approx(one["score"], rel=1e-4)) for one in answer.completions
        ]
        expected.append({**record, "found": found, "error": None})
    return expected


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_rows_come_out_in_order_with_the_answers_of_single_questions(
    service: Service, tmp_path: Path, suffix: str
) -> None:
    records = rows(200)
    source, output = write(tmp_path / f"in{suffix}", records), tmp_path / f"out{suffix}"
    filled = fill(service, source, output, OPTIONS)
    assert (filled.rows, filled.refused, filled.resumed) == (200, 0, 0)
    assert read(output) == asked_singly(service, records)
    assert sorted(path.name for path in tmp_path.iterdir()) == [source.name, output.name]


@pytest.mark.parametrize(
    ("given", "wanted"), [(".csv", ".jsonl"), (".csv", ".parquet"), (".parquet", ".tsv")]
)
def test_formats_are_changed_on_the_way(
    service: Service, tmp_path: Path, given: str, wanted: str
) -> None:
    records = rows(20)
    output = tmp_path / f"out{wanted}"
    fill(service, write(tmp_path / f"in{given}", records), output, OPTIONS)
    assert read(output) == asked_singly(service, records)


def test_values_keep_their_types_in_parquet(service: Service, tmp_path: Path) -> None:
    records = [
        row | {"weight": number / 2, "tags": ["a"] * number} for number, row in enumerate(rows(5))
    ]
    output = tmp_path / "out.parquet"
    fill(service, write(tmp_path / "in.parquet", records), output, OPTIONS)
    table = parquet.read_table(output)
    assert table.schema.field("weight").type == arrow.float64()
    assert [row["tags"] for row in table.to_pylist()] == [row["tags"] for row in records]


def test_one_relation_and_other_columns_for_all_rows(service: Service, tmp_path: Path) -> None:
    records = [{"name": row["subject"], "relation": "nonsense"} for row in rows(9)]
    output = tmp_path / "out.csv"
    options = replace(
        OPTIONS, relation="IsA, MadeOf", combine="intersection", subject_column="name"
    )
    fill(service, write(tmp_path / "in.csv", records), output, options)
    asked = [{"subject": row["name"], "relation": ["IsA", "MadeOf"]} for row in records]
    expected = asked_singly(service, asked, combine="intersection")
    assert [row["found"] for row in read(output)] == [row["found"] for row in expected]


def test_a_union_may_stand_in_a_row(service: Service, tmp_path: Path) -> None:
    records = [{"subject": "linen", "relation": "IsA,MadeOf"}]
    output = tmp_path / "out.jsonl"
    fill(service, write(tmp_path / "in.csv", records), output, OPTIONS)
    asked = [{"subject": "linen", "relation": ["IsA", "MadeOf"]}]
    assert read(output)[0]["found"] == asked_singly(service, asked)[0]["found"]
    source = write(tmp_path / "in.jsonl", asked)
    fill(service, source, tmp_path / "again.jsonl", OPTIONS)
    assert read(tmp_path / "again.jsonl")[0]["found"] == read(output)[0]["found"]


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        (replace(OPTIONS, masked=False), {"masked": False}),
        (replace(OPTIONS, template="[X] or [Y]."), {"template": "[X] or [Y]."}),
        (replace(OPTIONS, targets=("red", "blue")), {"targets": ["red", "blue"]}),
    ],
)
def test_options_are_those_of_a_question(
    service: Service, tmp_path: Path, options: FillOptions, fields: dict[str, object]
) -> None:
    records, output = rows(8), tmp_path / "out.jsonl"
    fill(service, write(tmp_path / "in.jsonl", records), output, options)
    assert read(output) == asked_singly(service, records, **fields)


def test_a_row_that_cannot_be_asked_says_why_and_costs_no_other(
    service: Service, tmp_path: Path
) -> None:
    good = rows(3)
    bad: list[Row] = [
        {"subject": "linen", "relation": "Isa"},
        {"subject": "", "relation": "IsA"},
        {"subject": "cat " * 60, "relation": "IsA"},
        {"subject": 7, "relation": "IsA"},
        {"relation": "IsA"},
        {"subject": "linen", "relation": ["IsA", 3]},
    ]
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    write(source, [good[0], *bad[:3], good[1], *bad[3:], good[2]])
    filled = fill(service, source, output, OPTIONS)
    assert (filled.rows, filled.refused) == (9, 6)
    found = read(output)
    assert [found[0], found[4], found[8]] == asked_singly(service, good)
    errors = [row["error"] for row in found if row["error"]]
    assert "IsA" in errors[0]
    assert len(errors) == 6
    assert "too long" in errors[2] or "48" in errors[2]
    assert all(not row["found"] for row in found if row["error"])


class BrokenOffError(Exception):
    """What breaks a run off."""


def break_after(windows: int) -> Callable[[FillProgress], None]:
    seen = []

    def report(progress: FillProgress) -> None:
        seen.append(progress)
        if len(seen) == windows:
            raise BrokenOffError

    return report


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_run_that_was_broken_off_goes_on(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr("app.fill.run.WINDOW_ROWS", 16)
    records = [*rows(90), {"id": "bad", "subject": "linen", "relation": "Isa"}, *rows(7)]
    source = write(tmp_path / f"in{suffix}", records)
    whole, output = tmp_path / f"whole{suffix}", tmp_path / f"out{suffix}"
    fill(service, source, whole, OPTIONS)
    for _ in range(2):
        with pytest.raises(BrokenOffError):
            fill(service, source, output, OPTIONS, report=break_after(2))
        assert not output.exists()
    part = tmp_path / f"out{suffix}.part"
    if part.is_file():
        # What was written after the last keeping, when the power failed.
        with part.open("ab") as file:
            file.write(b"half a ro")
    filled = fill(service, source, output, OPTIONS)
    assert (filled.rows, filled.refused, filled.resumed) == (98, 1, 64)
    assert read(output) == read(whole)
    if suffix != ".parquet":
        assert output.read_bytes() == whole.read_bytes()
    assert len(list(tmp_path.iterdir())) == 3


def test_another_job_is_not_gone_on_with(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.fill.run.WINDOW_ROWS", 4)
    source, output = write(tmp_path / "in.csv", rows(12)), tmp_path / "out.csv"
    with pytest.raises(BrokenOffError):
        fill(service, source, output, OPTIONS, report=break_after(1))
    with pytest.raises(FillError, match="of another job: the input, the options or the masks"):
        fill(service, source, output, replace(OPTIONS, top_k=2))
    write(source, rows(13))
    with pytest.raises(FillError, match="of another job"):
        fill(service, source, output, OPTIONS)
    filled = fill(service, source, output, OPTIONS, restart=True)
    assert (filled.rows, filled.resumed) == (13, 0)
    assert read(output) == asked_singly(service, rows(13))


def test_a_lost_or_damaged_part_is_noticed(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.fill.run.WINDOW_ROWS", 4)
    source, output = write(tmp_path / "in.csv", rows(12)), tmp_path / "out.csv"
    part, progress = tmp_path / "out.csv.part", tmp_path / "out.csv.progress"
    with pytest.raises(BrokenOffError):
        fill(service, source, output, OPTIONS, report=break_after(1))
    part.write_bytes(part.read_bytes()[:20])
    with pytest.raises(FillError, match="shorter than it was"):
        fill(service, source, output, OPTIONS)
    progress.write_text("{")
    with pytest.raises(FillError, match="begin again with --restart"):
        fill(service, source, output, OPTIONS)
    progress.unlink()
    assert fill(service, source, output, OPTIONS).resumed == 0
    with pytest.raises(FillError, match="is there already"):
        fill(service, source, output, OPTIONS)


def test_memory_holds_two_windows_and_repeated_questions_are_asked_once(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.fill.run.WINDOW_ROWS", 50)
    asked = []
    run = service.engine.run
    monkeypatch.setattr(
        service.engine, "run", lambda prepared: asked.append(len(prepared.probes)) or run(prepared)
    )
    source, output = write(tmp_path / "in.csv", rows(4) * 50), tmp_path / "out.csv"
    seen: list[FillProgress] = []
    fill(service, source, output, OPTIONS, report=seen.append)
    assert [progress.rows for progress in seen] == [50, 100, 150, 200]
    assert seen[-1].share == 1.0
    assert sum(asked) == 4 * 4
    assert read(output) == asked_singly(service, rows(4)) * 50


def test_passes_are_of_one_mask_where_that_fills_them(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        service, "settings", service.settings.model_copy(update={"token_budget": 60})
    )
    sets = []
    run = service.engine.run

    def watched(prepared: Any) -> Any:
        sets.append({probe.mask.digest for probe in prepared.probes})
        return run(prepared)

    monkeypatch.setattr(service.engine, "run", watched)
    fill(service, write(tmp_path / "in.csv", rows(144)), tmp_path / "out.csv", OPTIONS)
    assert len(sets) > 8
    assert sum(len(one) > 1 for one in sets) <= len(RELATIONS) - 1


def test_an_empty_table_stays_empty(service: Service, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("subject,relation\n")
    assert fill(service, tmp_path / "in.csv", tmp_path / "out.csv", OPTIONS).rows == 0
    assert (tmp_path / "out.csv").read_text().startswith("subject,relation,object_1,score_1,")
    fill(service, tmp_path / "in.csv", tmp_path / "out.parquet", OPTIONS)
    assert parquet.read_table(tmp_path / "out.parquet").num_rows == 0


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("in.csv", b"", "first line must name the columns"),
        ("in.csv", b"subject,relation,subject\n", "'subject' is named twice"),
        ("in.csv", b"name,relation\n", "no column 'subject', but name, relation"),
        ("in.csv", b"subject\nlinen\n", "no column 'relation'"),
        ("in.csv", b"subject,relation\nlinen\n", "line 2: 1 fields where the header names 2"),
        ("in.csv", b'subject,relation\n"lin"en,IsA\n', "line 2: "),
        ("in.csv", b"subject,relation\nlin\xffen,IsA\n", "not UTF-8"),
        ("in.csv", b"subject,relation,object_2\nlinen,IsA,x\n", "field 'object_2' of their own"),
        ("in.csv", b"subject,relation,error\nlinen,IsA,x\n", "field 'error' of their own"),
        ("in.jsonl", b'{"subject": "linen"\n', "line 1: it is not JSON"),
        ("in.jsonl", b"\n[1]\n", "line 2: an object belongs there, not list"),
        ("in.jsonl", b'{"subject": "a", "relation": "IsA", "error": 1}\n', "field 'error'"),
        ("in.parquet", b"PAR1", "is no Parquet file"),
        ("in.xlsx", b"", "must end in .csv, .tsv"),
        ("none.csv", None, "there is no file"),
    ],
)
def test_a_file_that_cannot_be_used(
    service: Service, tmp_path: Path, name: str, content: bytes | None, says: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    output = tmp_path / ("out.jsonl" if name.endswith("jsonl") else "out.csv")
    with pytest.raises(FillError, match=says):
        fill(service, tmp_path / name, output, OPTIONS)
    assert not output.exists()


def test_json_lines_have_no_common_columns(service: Service, tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", rows(2))
    for name in ("out.csv", "out.parquet"):
        with pytest.raises(FillError, match=r"ends in \.jsonl"):
            fill(service, source, tmp_path / name, OPTIONS)


def test_options_that_are_wrong_for_every_row_are_refused_at_once(
    service: Service, tmp_path: Path
) -> None:
    source, output = write(tmp_path / "in.csv", rows(2)), tmp_path / "out.csv"
    with pytest.raises(UnknownRelationError, match="Isa"):
        fill(service, source, output, replace(OPTIONS, relation="Isa"))
    with pytest.raises(RequestError, match="it must be 1 to"):
        fill(service, source, output, replace(OPTIONS, relation="IsA", top_k=10**6))
    with pytest.raises(FillError, match="no folder"):
        fill(service, source, tmp_path / "none" / "out.csv", OPTIONS)
    assert list(tmp_path.iterdir()) == [source]


def test_the_command(
    run_relata: RunRelata, base_folder: Path, pack_folder: Path, service: Service, tmp_path: Path
) -> None:
    records = [*rows(30), {"id": "bad", "subject": "linen", "relation": "Isa"}]
    source, output = write(tmp_path / "in.csv", records), tmp_path / "out.jsonl"
    flags = ("--base", str(base_folder), "--packs", str(pack_folder), "--top-k", "3")
    done = run_relata("fill", str(source), str(output), *flags)
    assert done.returncode == 0, done.stderr
    assert "31 rows, 31 of them now in" in done.stderr
    assert "1 of them could not be asked" in done.stderr
    assert read(output)[:30] == asked_singly(service, records[:30])
    again = run_relata("fill", str(source), str(output), *flags)
    assert again.returncode == 2
    assert again.stderr.startswith("relata: ")
    assert "is there already" in again.stderr
