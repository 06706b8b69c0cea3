"""Bulk completion by Ray Data against the same on one machine."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as arrow
import pytest
from pyarrow import parquet

from app.fill import Filled, FillError, FillOptions, fill
from app.fill.ray_data import complete_dataset, fill_on_ray
from app.fill.ray_data.cluster import connected
from app.fill.ray_data.files import RowFiles
from app.fill.ray_data.plan import Plan
from app.settings import Settings, load_settings
from masks import UnknownRelationError
from tests.app.fill.conftest import rows
from tests.app.fill.test_fill import write

if TYPE_CHECKING:
    from app.service import Service
    from tests.app.conftest import RunRelata

ray = pytest.importorskip("ray")

ROOT = Path(__file__).parents[3]
OPTIONS = FillOptions(top_k=3)
JSON_LINE = '{"subject": "linen", "relation": "IsA"}\n'
BAD = {"id": "bad", "subject": "linen", "relation": "Isa"}
Row = dict[str, Any]


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Ray on this machine, with its address; its workers import what lies here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("HF_HUB_OFFLINE", "1")
        ray.init(
            address="local",
            num_cpus=3,
            num_gpus=0,
            include_dashboard=False,
            object_store_memory=100 * 2**20,
            logging_level="error",
        )
        yield ray.get_runtime_context().gcs_address
        ray.shutdown()


@pytest.fixture
def settings(service: Service) -> Settings:
    return service.settings.model_copy(update={"threads": 1})


def on_ray(settings: Settings, source: Path, output: Path, **options: Any) -> Filled:
    return fill_on_ray(settings, source, output, OPTIONS, address="local", **options)


def read_parts(folder: Path) -> Any:
    return arrow.concat_tables([parquet.read_table(path) for path in sorted(folder.iterdir())])


def rounded(completion: Row) -> Row:
    """A completion whose numbers may differ by rounding."""
    chances = {
        name: pytest.approx(completion[name], abs=1e-5)
        for name in ("score", "probability")
        if completion[name] is not None
    }
    return completion | chances | {"log_prob": pytest.approx(completion["log_prob"], rel=1e-4)}


def test_rows_are_those_of_one_machine(
    cluster: str,
    service: Service,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.fill.ray_data.run.BATCH_ROWS", 32)
    monkeypatch.setattr("app.fill.ray_data.run._FILE_ROWS", 100)
    monkeypatch.setattr("app.fill.ray_data.files._PIECE_ROWS", 100)
    records = [
        row | {"weight": number / 2, "tags": ["a"] * (number % 3)}
        for number, row in enumerate([*rows(200), BAD, *rows(150)])
    ]
    source, folder = write(tmp_path / "in.parquet", records), tmp_path / "parts"
    fill(service, source, tmp_path / "out.parquet", OPTIONS)
    folder.mkdir()
    write(folder / "0.parquet", records[:230])
    write(folder / "1.parquet", records[230:])
    assert on_ray(settings, folder, tmp_path / "out", actors=2) == Filled(351, 1, 0)
    expected, found = parquet.read_table(tmp_path / "out.parquet"), read_parts(tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) > 1
    assert found.schema.equals(expected.schema)
    for row, wanted in zip(found.to_pylist(), expected.to_pylist(), strict=True):
        assert row == wanted | {"completions": [rounded(one) for one in wanted["completions"]]}
    assert not (tmp_path / "out.part").exists()


@pytest.fixture
def without_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows come out as they are: no actor is started, which takes seconds."""
    monkeypatch.setattr("app.fill.ray_data.run.complete_planned", lambda dataset, *_, **__: dataset)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_text_is_read_as_on_one_machine(cluster: str, tmp_path: Path, suffix: str) -> None:
    notes = ("007", "", "NA", 'a "b"\nc,')
    records = [row | {"note": note} for row, note in zip(rows(4), notes, strict=True)]
    files = RowFiles.at(write(tmp_path / f"in{suffix}", records))
    assert files.read(ray).take_all() == records


def test_a_dataset_of_a_program(cluster: str, service: Service, settings: Settings) -> None:
    dataset = ray.data.from_items([{"name": row["subject"]} for row in rows(20)])
    options = replace(OPTIONS, subject_column="name", relation="IsA")
    completed = complete_dataset(dataset, options, settings=settings, batch_size=8)
    answers = {
        row["name"]: [one["object"] for one in row["completions"]] for row in completed.take_all()
    }
    for row in rows(20):
        body = {"subject": row["subject"], "relation": "IsA", "top_k": 3}
        answer: Any = service.ask_now(service.features.completion, body)
        assert answers[row["subject"]] == [one["object"] for one in answer.completions]
    with pytest.raises(FillError, match="the dataset has no column 'subject', but name"):
        complete_dataset(dataset, OPTIONS, settings=settings)


@pytest.mark.usefixtures("cluster", "without_model")
def test_an_empty_table_stays_empty(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("subject,relation\n")
    assert on_ray(settings, tmp_path / "in.csv", tmp_path / "out").rows == 0
    table = read_parts(tmp_path / "out")
    assert (table.num_rows, table.column_names[-2:]) == (0, ["completions", "error"])


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("in.csv", "subject,relation\nlinen,IsA\nlinen\n", "line 3: 1 fields where the header"),
        ("in.jsonl", f'{JSON_LINE * 1000}{{"subject": "a", "new": 1}}\n', "a field 'new', which"),
        ("in.jsonl", f'{JSON_LINE * 1000}{{"subject": 1}}\n', "values of another type"),
    ],
)
@pytest.mark.usefixtures("cluster", "without_model")
def test_a_file_that_turns_out_bad_leaves_nothing(
    settings: Settings, tmp_path: Path, name: str, text: str, says: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(FillError, match=f"{name}, .*{says}"):
        on_ray(settings, tmp_path / name, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_actor_with_other_masks_answers_nothing(
    cluster: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = Plan.of
    monkeypatch.setattr(
        Plan, "of", lambda *arguments: replace(planned(*arguments), model={"base": "another"})
    )
    source = write(tmp_path / "in.csv", rows(3))
    with pytest.raises(FillError, match="are not those of the machine that began"):
        on_ray(settings, source, tmp_path / "out", actors=1)
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_a_pool_that_the_cluster_has_no_room_for(
    cluster: str, settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(FillError, match=r"has 3 processors .* 3 actors of 1 .* do not fit"):
        on_ray(settings, write(tmp_path / "in.csv", rows(3)), tmp_path / "out", actors=3)


def test_the_command(
    cluster: str, run_relata: RunRelata, base_folder: Path, pack_folder: Path, tmp_path: Path
) -> None:
    source, output = write(tmp_path / "in.csv", [*rows(30), BAD]), tmp_path / "out"
    flags = ("--base", str(base_folder), "--packs", str(pack_folder), "--ray", cluster)
    done = run_relata("fill", str(source), str(output), *flags, "--ray-actors", "1")
    assert done.returncode == 0, done.stderr
    assert "31 rows, 31 of them now in" in done.stderr
    assert "1 of them could not be asked" in done.stderr
    assert [row["id"] for row in read_parts(output).to_pylist()][-2:] == ["row, 29", "bad"]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--ray-actors", "2"), "needs --ray"),
        (("--ray", "local", "--restart"), "every run begins anew"),
    ],
)
def test_flags_that_cannot_be_used(
    *,
    run_relata: RunRelata,
    base_folder: Path,
    pack_folder: Path,
    tmp_path: Path,
    flags: tuple[str, ...],
    says: str,
) -> None:
    source = write(tmp_path / "in.csv", rows(2))
    model = ("--base", str(base_folder), "--packs", str(pack_folder))
    done = run_relata("fill", str(source), str(tmp_path / "out"), *model, *flags)
    assert done.returncode == 2
    assert says in done.stderr
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "holds no files"),
        ({"a.csv": "subject,relation\n", "b.jsonl": "{}\n"}, "are of two formats"),
        ({"a.csv": "subject,relation\n", "b.csv": "relation,subject\n"}, "differ in their columns"),
        ({"a.csv": "subject,relation\n", "b.txt": ""}, "'b.txt' must end in .csv"),
        ({"a.csv": "subject\nlinen\n"}, "no column 'relation'"),
        ({"a.csv": "subject,relation,error\n"}, "field 'error' of their own"),
        ({"a.jsonl": '{"subject": {"name": "linen"}}\n'}, "field 'subject' holds objects"),
        ({"a.jsonl": '{"subject": 1}\n{"subject": "a"}\n'}, "values of two types"),
    ],
)
def test_a_folder_that_cannot_be_used(
    settings: Settings, tmp_path: Path, files: dict[str, str], says: str
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    with pytest.raises(FillError, match=says):
        on_ray(settings, folder, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [folder]


def test_what_is_refused_before_ray_is_started(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("Ray is started"))
    source, output = write(tmp_path / "in.csv", rows(2)), tmp_path / "out"
    wrong = replace(OPTIONS, relation="Isa")
    with pytest.raises(UnknownRelationError, match="did you mean 'IsA'"):
        fill_on_ray(settings, source, output, wrong, address="local")
    with pytest.raises(FillError, match="name it without a dot"):
        on_ray(settings, source, tmp_path / "out.parquet")
    with pytest.raises(FillError, match="no folder"):
        on_ray(settings, source, tmp_path / "none" / "out")
    with pytest.raises(FillError, match="say cuda"):
        on_ray(settings.model_copy(update={"device": "cuda:1"}), source, output)
    beside = tmp_path / "out.part"
    beside.mkdir()
    with pytest.raises(FillError, match="another run writes to it, or was killed"):
        on_ray(settings, source, output)
    beside.rename(output)
    with pytest.raises(FillError, match="is there already"):
        on_ray(settings, source, output)


def test_a_cluster_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with (
        pytest.raises(FillError, match=r"there is no Ray cluster at '127.0.0.1:1' .*refused"),
        connected(ray, "127.0.0.1:1", cpus=1),
    ):
        pass


def test_ray_is_missing(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(FillError, match=r"pip install 'relata\[ray\]'"):
        on_ray(settings, write(tmp_path / "in.csv", rows(2)), tmp_path / "out")


def test_what_travels_has_no_secrets_and_no_relative_paths(
    base_folder: Path, pack_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(base_folder.parent)
    settings = load_settings(
        {
            "base": f"./{base_folder.name}",
            "packs": os.path.relpath(pack_folder),
            "api_key": "secret-secret-secret",
            "redis_url": "redis://:secret-secret-secret@localhost:6379",
        }
    )
    plan = Plan.of(settings, OPTIONS, ("subject", "relation"), "rows")
    assert b"secret" not in pickle.dumps(plan)
    monkeypatch.chdir("/")
    service = pickle.loads(pickle.dumps(plan)).load(1)
    service.close()
    assert service.settings.threads == 1
