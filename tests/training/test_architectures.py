"""Every architecture of the paper, from a spreadsheet to masks that are saved and served."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.utils import prune
from transformers import AutoModelForMaskedLM, AutoTokenizer
from typer.testing import CliRunner

import plm
import relata
from benchmarks.server import running_server
from masks import MaskMismatchError, MaskPack, RelationMask, check_fits
from training.evaluation import Evaluation

from .bases import CITIES, KINDS, LANDS, Kind, write_base

# Starting a server takes long; these two have the tokens and positions that are least like BERT's.
SERVED = [kind for kind in KINDS if kind.name in ("roberta-base", "mpnet-base")]


def run(*arguments: object) -> str:
    result = CliRunner().invoke(relata.app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture(scope="module")
def folder(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(kind, tmp_path_factory.mktemp("kind") / kind.name)


@pytest.fixture(scope="module")
def learned(kind: Kind, folder: Path) -> Path:
    """The run of `relata train` on facts whose words have capitals."""
    root = folder.parent
    looks = ("", "old ", "new ", "big ", "small ", "one ")
    rows = [
        f"{look}{city},LiesIn,{land}"
        for look in looks
        for city, land in zip(CITIES, LANDS, strict=True)
    ]
    (root / "facts.csv").write_text("\n".join(["subject,relation,object", *rows]) + "\n")
    wording = {"evaluation": "the [X] is in [Y] .", "training": ["it is [X] of [Y] .", "[X] , [Y]"]}
    (root / "templates.json").write_text(json.dumps({"LiesIn": wording}))
    run(
        *("train", "--data", root / "facts.csv", "--templates", root / "templates.json"),
        *("--base", folder, "--epochs", "2", "--batch-size", "8", "--learning-rate", "3e-3"),
        *("--out", root / "run"),
    )
    return root / "run"


@pytest.fixture(scope="module")
def mask(learned: Path) -> RelationMask:
    return MaskPack.open(learned / "pack").load("LiesIn")


def expected_log_probs(folder: Path, mask: RelationMask, subject: str) -> tuple[Any, torch.Tensor]:
    """The tokenizer, and log-probabilities (V,) of the Hugging Face model, pruned."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.float32).eval()
    for name in mask.shapes:
        module = model.get_submodule(name.removesuffix(".weight"))
        prune.custom_from_mask(module, "weight", torch.from_numpy(mask.keep(name).copy()))
    batch = tokenizer(f"the {subject} is in {tokenizer.mask_token} .", return_tensors="pt")
    with torch.no_grad():
        logits = model(**batch).logits[batch["input_ids"] == tokenizer.mask_token_id]
    return tokenizer, logits[0].log_softmax(dim=-1)


def test_masks_cover_the_papers_layers_and_are_sound(
    kind: Kind, learned: Path, mask: RelationMask
) -> None:
    assert mask.metadata.layers == kind.masked
    assert len(mask.shapes) == 6 * (kind.masked[1] - kind.masked[0] + 1)
    assert mask.metadata.settings["steps"] > 0
    assert "sound" in run("masks", "verify", "--pack", learned / "pack")


def test_no_fact_is_lost_to_case_or_spaces(mask: RelationMask) -> None:
    assert sum(mask.metadata.facts.values()) == 24


def test_evaluated_again_the_ranks_are_the_same(folder: Path, learned: Path) -> None:
    run(
        *("evaluate", "--pack", learned / "pack", "--split", learned / "split.jsonl"),
        *("--base", folder, "--out", learned.parent / "again"),
    )
    ours, theirs = (
        Evaluation.from_json((place / "report.json").read_text())
        for place in (learned, learned.parent / "again")
    )
    assert ours.results == theirs.results


def test_masked_answers_are_the_pruned_hugging_face_models(
    folder: Path, mask: RelationMask
) -> None:
    base = plm.load_base(folder, device="cpu")
    engine = plm.Engine(base)
    prompt = plm.encode_prompt(base, plm.Template.parse(mask.metadata.templates[0]), "old Rome")
    (ranking,) = plm.complete(engine, [plm.Query(prompt, mask, plm.TopTokens(base.vocab_size))])
    _, log_probs = expected_log_probs(folder, mask, "old Rome")
    for completion in ranking:
        assert completion.log_prob == pytest.approx(float(log_probs[completion.token_id]), abs=1e-4)
    best = max(ranking, key=lambda completion: completion.log_prob)
    assert best.token_id == int(log_probs.argmax())


def test_objects_are_words_as_people_write_them(kind: Kind, folder: Path) -> None:
    base = plm.load_base(folder, device="cpu")
    for land in LANDS:
        text = plm.object_text(base, plm.object_token_id(base, land))
        assert text == (land if kind.cased else land.lower())


def test_another_base_is_refused(folder: Path, mask: RelationMask) -> None:
    other = plm.load_base(folder, device="cpu", random_seed=5)
    with pytest.raises(MaskMismatchError):
        check_fits(mask, other.digest, other.shapes(*mask.metadata.layers))


@pytest.mark.parametrize("kind", SERVED, indirect=True, ids=lambda kind: kind.name)
def test_served_answers_are_the_pruned_hugging_face_models(
    kind: Kind, folder: Path, learned: Path, mask: RelationMask
) -> None:
    settings = {"base": str(folder), "packs": str(learned / "pack")}
    with running_server(settings, threads=1) as server:
        query = {"subject": "old Rome", "relation": "LiesIn", "top_k": 5}
        answer = server.client.post("/complete", json=query).raise_for_status().json()
        chosen = server.client.post("/complete", json={**query, "targets": list(LANDS)})
    tokenizer, log_probs = expected_log_probs(folder, mask, "old Rome")
    assert answer["mask"]["digest"]
    for completion in answer["completions"]:
        assert completion["log_prob"] == pytest.approx(
            float(log_probs[completion["token_id"]]), abs=1e-4
        )
        token = tokenizer.convert_ids_to_tokens(completion["token_id"])
        assert completion["object"] == token.removeprefix("\u0120")
    lands = {item["object"] for item in chosen.raise_for_status().json()["completions"]}
    assert lands == {land if kind.cased else land.lower() for land in LANDS}


@pytest.mark.parametrize("kind", SERVED[:1], indirect=True, ids=lambda kind: kind.name)
def test_fine_tuning_runs_beside_it(folder: Path, learned: Path) -> None:
    run(
        *("baselines", "--pack", learned / "pack", "--split", learned / "split.jsonl"),
        *("--base", folder, "--only", "fine-tuning", "--epochs", "1"),
        *("--out", learned.parent / "beside"),
    )
    report = Evaluation.from_json((learned.parent / "beside" / "report.json").read_text())
    assert "fine-tuning" in report.systems
