"""`relata train`, `calibrate`, `evaluate` and `adapt`, on relations of a user's own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import plm
import relata
from masks import MaskPack, UnknownRelationError, add_to_pack
from training.data import DataError, Triple, load_templates

TEMPLATES = {
    "BelongsTo": {"evaluation": "a [X] is one [Y] .", "training": ["the [X] is a [Y] ."]},
    "LivesIn": {"evaluation": "a [X] is in the [Y] .", "training": ["the [X] was in a [Y] ."]},
}


@pytest.fixture
def own(tmp_path: Path, triples: tuple[Triple, ...]) -> Path:
    """A spreadsheet of two relations that we know nothing of, and their wordings."""
    names = {"IsA": "BelongsTo", "AtLocation": "LivesIn"}
    rows = [f"{fact.subject},{names[fact.relation]},{fact.object}" for fact in triples]
    text = "\n".join(["subject,relation,object", *rows, "dog,BelongsTo", "dog,BelongsTo,starship"])
    (tmp_path / "own.csv").write_text(text + "\n")
    (tmp_path / "templates.json").write_text(json.dumps(TEMPLATES))
    return tmp_path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(relata.app, [str(argument) for argument in arguments])


def test_two_relations_of_ones_own_from_spreadsheet_to_report(own: Path, base_folder: Path) -> None:
    data = ("--data", own / "own.csv", "--templates", own / "templates.json")
    settings = ("--base", base_folder, "--epochs", "2", "--batch-size", "4", "--name", "mine")
    first = run("train", *data, "--out", own / "run", *settings)
    assert first.exit_code == 0, first.output
    assert "line 34: " in first.output  # the bad line, by number
    assert "starship" in (own / "run" / "passed-over.txt").read_text()
    pack = MaskPack.open(own / "run" / "pack")
    assert (pack.name, pack.relations) == ("mine", ("BelongsTo", "LivesIn"))
    assert pack.load("LivesIn").metadata.settings["epochs"] == 2
    again = run("train", *data, "--out", own / "run", *settings)
    assert again.output.count("already learned") == 2

    evaluated = run(
        *("evaluate", "--pack", own / "run" / "pack", "--split", own / "run" / "split.jsonl"),
        *("--base", base_folder, "--out", own / "again"),
    )
    assert evaluated.exit_code == 0, evaluated.output
    reports = [
        json.loads((own / folder / "report.json").read_text())["results"]
        for folder in ("run", "again")
    ]
    assert reports[0] == reports[1]

    on_file = run(
        *("evaluate", "--pack", own / "run" / "pack", "--data", own / "own.csv"),
        *("--base", base_folder, "--out", own / "third", "--dtype", "bfloat16"),
    )
    assert on_file.exit_code == 0, on_file.output
    assert len(json.loads((own / "third" / "report.json").read_text())["facts"]["LivesIn"]) == 16


def test_a_check_says_what_is_wrong_and_learns_nothing(own: Path, base_folder: Path) -> None:
    data = ("--data", own / "own.csv", "--base", base_folder)
    checked = run("check", *data, "--out", own / "check.md", "--examples", "0")
    assert checked.exit_code == 1, checked.output
    assert "2 problems were found" in checked.output
    assert "own.csv line 34" in (own / "check.md").read_text()
    assert "starship" in (own / "check.md").read_text()

    rows = (own / "own.csv").read_text().splitlines()
    (own / "own.csv").write_text("\n".join(rows[:33]) + "\n")
    sound = run("check", *data, "--templates", own / "templates.json", "--relation", "LivesIn")
    assert sound.exit_code == 0, sound.output
    assert "No problem was found" in sound.output
    assert "BelongsTo" not in sound.output
    assert sorted(path.name for path in own.iterdir()) == ["check.md", "own.csv", "templates.json"]


def test_templates_are_proposed_written_and_learned_from(own: Path, base_folder: Path) -> None:
    data = ("--data", own / "own.csv", "--base", base_folder)
    written = run("templates", *data, "--out", own / "proposed.json")
    assert written.exit_code == 0, written.output
    assert "BelongsTo (proposed)" in written.output
    assert load_templates(own / "proposed.json").keys() == {"BelongsTo", "LivesIn"}
    refused = run("templates", *data, "--out", own / "proposed.json")
    assert isinstance(refused.exception, DataError)
    assert "there already" in str(refused.exception)
    given = run("templates", *data, "--templates", own / "templates.json")
    assert "BelongsTo (given)" in given.output

    learning = ("--out", own / "run", "--epochs", "1", "--relation", "LivesIn")
    done = run("train", *data, *learning)
    assert done.exit_code == 0, done.output
    assert "LivesIn has no templates" in done.output
    kept = load_templates(own / "run" / "templates.json")["LivesIn"]
    assert kept == load_templates(own / "proposed.json")["LivesIn"]
    mask = MaskPack.open(own / "run" / "pack").load("LivesIn")
    assert mask.metadata.templates == (kept.evaluation, *kept.training)
    again = run("train", *data, *learning)
    assert "already learned" in again.output
    assert "has no templates" not in again.output


def test_masks_over_random_weights_are_of_a_base_of_their_own(own: Path, base_folder: Path) -> None:
    data = ("--data", own / "own.csv", "--templates", own / "templates.json")
    settings = ("--base", base_folder, "--epochs", "1", "--random-weights", "3", "--together", "2")
    done = run("train", *data, "--out", own / "control", *settings)
    assert done.exit_code == 0, done.output
    mask = MaskPack.open(own / "control" / "pack").load("LivesIn")
    assert mask.metadata.base_model == f"{base_folder.name}-random-3"
    assert mask.base_digest != plm.load_base(base_folder, device="cpu").digest


def test_a_method_and_its_options_are_kept_in_the_mask(own: Path, base_folder: Path) -> None:
    data = ("--data", own / "own.csv", "--templates", own / "templates.json")
    settings = ("--base", base_folder, "--epochs", "1", "--preset", "top-k")
    done = run("train", *data, "--out", own / "sparse", *settings, "--option", "sparsity=0.25")
    assert done.exit_code == 0, done.output
    mask = MaskPack.open(own / "sparse" / "pack").load("LivesIn")
    assert mask.metadata.method == "top-k"
    assert mask.metadata.settings["sparsity"] == 0.25
    assert mask.sparsity == pytest.approx(0.25, abs=0.001)
    for option, told in (
        ("sparsity", "NAME=NUMBER"),
        ("price=1", "it has sparsity (or sparsity.LAYER), ramp"),
    ):
        refused = run("train", *data, "--out", own / "no", *settings, "--option", option)
        assert refused.exit_code != 0
        assert told in str(refused.exception) + refused.output


def test_a_pack_gets_the_calibration_back_that_train_gave_it(
    many_triples: tuple[Triple, ...], base_folder: Path, tmp_path: Path
) -> None:
    rows = [f"{fact.subject},BelongsTo,{fact.object}\n" for fact in many_triples]
    (tmp_path / "own.csv").write_text("subject,relation,object\n" + "".join(rows))
    (tmp_path / "templates.json").write_text(json.dumps(TEMPLATES))
    (tmp_path / "more.csv").write_text(
        "subject,relation,object\na big cow,BelongsTo,an animal\nbee,BelongsTo,tool\n"
    )
    data = ("--data", tmp_path / "own.csv")
    further, base = ("--further", tmp_path / "more.csv"), ("--base", base_folder)
    learning = ("--templates", tmp_path / "templates.json", "--epochs", "2", "--batch-size", "8")
    done = run("train", *data, *further, *base, *learning, "--out", tmp_path / "run", "--seed", "3")
    assert done.exit_code == 0, done.output
    assert "likely true from" in done.output
    folder = tmp_path / "run" / "pack"
    made = MaskPack.open(folder).load("BelongsTo")
    assert made.metadata.calibration is not None

    given = ("--pack", folder, *base, *further)
    for facts in ((*data, "--seed", "3"), ("--split", tmp_path / "run" / "split.jsonl")):
        add_to_pack(folder, made.with_calibration(None))
        again = run("calibrate", *given, *facts)
        assert again.exit_code == 0, again.output
        assert "1 of 1 masks" in again.output
        assert MaskPack.open(folder).load("BelongsTo") == made
        assert MaskPack.open(folder).verify() == []

    evaluated = run(
        *("evaluate", *given, "--split", tmp_path / "run" / "split.jsonl"),
        *("--out", tmp_path / "again"),
    )
    assert evaluated.exit_code == 0, evaluated.output
    reports = [
        json.loads((tmp_path / place / "report.json").read_text())["calibration"]
        for place in ("run", "again")
    ]
    assert reports[0] == reports[1]
    assert reports[0][0]["relation"] == "BelongsTo"

    shown = run("masks", "show", "BelongsTo", "--pack", folder)
    assert "P(true) = sigmoid(" in shown.output
    assert "likely true from" in shown.output

    other_seed = run("calibrate", *given, *data, "--seed", "4")
    assert isinstance(other_seed.exception, DataError)
    assert "learned from other facts" in str(other_seed.exception)
    unknown = run("calibrate", *given, *data, "--relation", "Belongs")
    assert isinstance(unknown.exception, UnknownRelationError)
    assert MaskPack.open(folder).load("BelongsTo") == made


def test_adapt_reports_and_leaves_a_model(encoder_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("the dog is a big animal .\n" * 40)
    (tmp_path / "settings.json").write_text(
        json.dumps({"batch_tokens": 128, "held_out_share": 0.2, "verbalise": ["a"]})
    )
    done = run(
        *("adapt", encoder_folder, "--text", tmp_path / "text", "--out", tmp_path / "out"),
        *("--settings", tmp_path / "settings.json", "--token-budget", "400"),
    )
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "model" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--data", "none.tsv", "--out", "out"], "none.tsv"),
        (["train", "--data", "none.tsv", "--out", "out", "--preset", "best"], "near-identity"),
        (["train", "--data", "none.tsv", "--out", "out", "--epochs", "0"], "epochs"),
        (["evaluate", "--pack", "none"], "--split"),
        (["evaluate", "--pack", "none", "--split", "x"], "none"),
        (["evaluate", "--pack", "x", "--data", "x", "--further", "y"], "--further goes with"),
        (["evaluate", "--pack", "x", "--data", "x", "--dtype", "half"], "none of auto, float32"),
        (["calibrate", "--pack", "none"], "either --split"),
        (["calibrate", "--pack", "none", "--split", "x", "--data", "y"], "either --split"),
        (["calibrate", "--pack", "none", "--split", "x"], "none"),
        (["check", "--data", "none.tsv"], "none.tsv"),
        (["templates", "--data", "none.tsv"], "none.tsv"),
        (["adapt", "none", "--text", ".", "--out", "out", "--token-budget", "0"], "token_budget"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    command = [sys.executable, Path(relata.__file__), *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("relata: ")
    assert message in line
    assert "Traceback" not in done.stderr
