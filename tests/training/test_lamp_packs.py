"""`relata masks import-lamp`: all files or none, into a pack that is served."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from typer.testing import CliRunner, Result

import plm
import relata
from masks import MaskMismatchError, MaskPack, MaskValueError
from tests.hugging_face import model_of
from tests.training.lamp_files import modules_of, random_scores, save_lamp
from training.data import DataError
from training.importing import LampError


@pytest.fixture
def files(base: plm.BaseModel, tmp_path: Path) -> list[Path]:
    """Of three relations."""
    modules = modules_of(model_of(base), "bert", 2, 3)
    return [
        save_lamp(tmp_path, random_scores(modules, seed), relation)
        for seed, relation in enumerate(("IsA", "AtLocation", "UsedFor"))
    ]


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(relata.app, [str(argument) for argument in arguments])


def bring(*arguments: str | Path) -> Result:
    return run("masks", "import-lamp", *arguments)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_from_files_to_answers(files: list[Path], base_folder: Path, tmp_path: Path) -> None:
    pack = tmp_path / "lamp"
    done = bring(*files[:2], "--base", base_folder, "--out", pack)
    assert done.exit_code == 0, done.output
    assert "IsA: layers 3 to 4, 5" in done.output
    assert "made for bert-base-uncased: make sure that base has its weights" in done.output
    assert MaskPack.open(pack).relations == ("AtLocation", "IsA")
    assert MaskPack.open(pack).name == "lamp"

    more = bring(files[2], "--base", base_folder, "--out", pack)
    assert more.exit_code == 0, more.output
    assert MaskPack.open(pack).relations == ("AtLocation", "IsA", "UsedFor")

    verified = run("masks", "verify", "--pack", pack)
    assert (verified.exit_code, "3 masks, sound" in verified.output) == (0, True)
    shown = run("masks", "show", "IsA", "--pack", pack)
    assert "LAMP (Ren & Zhu), imported from" in shown.output
    asked = run(
        *("complete", "dog", "IsA", "--template", "a [X] is a [Y] .", "--json"),
        *("--base", base_folder, "--packs", pack, "--device", "cpu"),
    )
    assert asked.exit_code == 0, asked.output
    assert len(json.loads(asked.stdout)["completions"]) == 10


def test_templates_and_a_relation_of_ones_own(
    files: list[Path], base_folder: Path, tmp_path: Path
) -> None:
    given = (files[0], "--base", base_folder, "--out", tmp_path / "pack", "--relation", "KindOf")
    refused = bring(*given)
    assert isinstance(refused.exception, DataError)
    assert "no templates for KindOf" in str(refused.exception)
    assert not (tmp_path / "pack").exists()
    wording = {"evaluation": "a [X] is one [Y] .", "training": ["the [X] is a [Y] ."]}
    (tmp_path / "templates.json").write_text(json.dumps({"KindOf": wording}))
    done = bring(*given, "--templates", tmp_path / "templates.json")
    assert done.exit_code == 0, done.output
    mask = MaskPack.open(tmp_path / "pack").load("KindOf")
    assert mask.metadata.templates == ("a [X] is one [Y] .", "the [X] is a [Y] .")


def test_one_bad_file_of_several_leaves_nothing(
    files: list[Path], base: plm.BaseModel, base_folder: Path, tmp_path: Path
) -> None:
    short = random_scores(modules_of(model_of(base), "bert", 2, 3))[:11]
    torch.save(short, files[2])
    given = ("--base", base_folder, "--out", tmp_path / "pack")
    refused = bring(*files, *given)
    assert isinstance(refused.exception, LampError)
    assert "UsedFor" in str(refused.exception)
    assert not (tmp_path / "pack").exists()

    assert bring(files[0], *given).exit_code == 0
    before = contents(tmp_path / "pack")
    assert isinstance(bring(*files[1:], *given).exception, LampError)
    assert contents(tmp_path / "pack") == before


def test_a_relation_that_is_there_is_replaced_only_on_demand(
    files: list[Path], base: plm.BaseModel, base_folder: Path, tmp_path: Path
) -> None:
    pack = tmp_path / "pack"
    given = ("--base", base_folder, "--out", pack)
    assert bring(*files[:2], *given).exit_code == 0
    before, masks = contents(pack), MaskPack.open(pack).load_all()
    save_lamp(tmp_path, random_scores(modules_of(model_of(base), "bert", 2, 3), 9), "IsA")
    refused = bring(files[2], files[0], *given)
    assert isinstance(refused.exception, LampError)
    assert "has relation IsA already; give --replace" in str(refused.exception)
    assert contents(pack) == before
    done = bring(files[2], files[0], *given, "--replace")
    assert done.exit_code == 0, done.output
    after = MaskPack.open(pack).load_all()
    assert sorted(after) == ["AtLocation", "IsA", "UsedFor"]
    assert after["AtLocation"] == masks["AtLocation"]
    assert after["IsA"].digest != masks["IsA"].digest


def test_names_that_clash(files: list[Path], base_folder: Path, tmp_path: Path) -> None:
    given = ("--base", base_folder, "--out", tmp_path / "pack")
    twice = bring(files[0], files[0], *given)
    assert isinstance(twice.exception, LampError)
    assert "are both of relation IsA" in str(twice.exception)
    several = bring(*files, *given, "--relation", "IsA")
    assert "there are 3 files; import them one by one" in str(several.exception)
    unfit = bring(files[0], *given, "--relation", "is a")
    assert isinstance(unfit.exception, MaskValueError)
    assert not (tmp_path / "pack").exists()

    assert bring(files[0], *given).exit_code == 0
    (tmp_path / "t.json").write_text(
        json.dumps({"isa": {"evaluation": "[X] is a [Y].", "training": ["[X] is the [Y]."]}})
    )
    case = bring(files[1], *given, "--relation", "isa", "--templates", tmp_path / "t.json")
    assert isinstance(case.exception, LampError)
    assert "has relation IsA, and two names may not differ only in case" in str(case.exception)


def test_a_pack_of_another_base_is_refused(
    files: list[Path], base_folder: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    other = tmp_path / "other"
    model = AutoModelForMaskedLM.from_pretrained(base_folder)
    with torch.no_grad():
        next(iter(model.parameters())).add_(1.0)
    model.save_pretrained(other)
    AutoTokenizer.from_pretrained(base_folder).save_pretrained(other)
    pack = tmp_path / "pack"
    assert bring(files[0], "--base", base_folder, "--out", pack).exit_code == 0
    before = contents(pack)
    refused = bring(files[1], "--base", other, "--out", pack)
    assert isinstance(refused.exception, MaskMismatchError)
    assert "belongs to base base (sha256:" in str(refused.exception)
    assert contents(pack) == before


def test_a_pack_that_is_no_folder_is_refused(files: list[Path], base_folder: Path) -> None:
    for out in (files[1], files[1] / "pack"):
        refused = bring(files[0], "--base", base_folder, "--out", out)
        assert isinstance(refused.exception, LampError), refused.output
        assert str(out) in str(refused.exception)


def test_a_mistake_is_one_line_and_code_2(base_folder: Path, tmp_path: Path) -> None:
    path = save_lamp(tmp_path, nn.ParameterList(random_scores([])))
    command = [sys.executable, "-m", "relata", "masks", "import-lamp", path]
    done = subprocess.run(
        [*command, "--base", base_folder, "--out", tmp_path / "pack"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    # The lines before it are transformers' bar.
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"relata: {path}: refused, as unpickling it would run torch.nn.")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "pack").exists()
