"""Fine-tuning, LoRA and nearest neighbours, learned and ranked on the facts of a pack's masks."""

import copy
import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional
from typer.testing import CliRunner, Result

import plm
import relata
from tests.hugging_face import model_of, tokenizer_of
from training.baselines import FineTuning, LoRA, nearest_facts, nearest_objects
from training.data import RelationTemplates, Split, Triple, split_by_fact
from training.evaluation import Evaluation
from training.learning import LearnConfig, layer_range, learn
from training.methods import Specialisation

CONFIG = LearnConfig(learning_rate=3e-3, epochs=12, batch_size=4, schedule="constant", patience=0)


def weights(base: plm.BaseModel) -> dict[str, torch.Tensor]:
    return {name: base.weight(name) for name in base.shapes(*layer_range(base, CONFIG))}


def make(name: str, base: plm.BaseModel) -> Specialisation:
    return FineTuning(weights(base)) if name == "fine-tuning" else LoRA(weights(base), rank=4)


def split_of(triples: tuple[Triple, ...]) -> Split:
    return split_by_fact(triples, seed=0).of_relation("IsA")


@pytest.mark.parametrize("name", ["fine-tuning", "lora"])
def test_a_baseline_starts_as_the_base(base: plm.BaseModel, name: str) -> None:
    own = weights(base)
    for part, weight in make(name, base).masked(own).items():
        assert torch.equal(weight, own[part])


@pytest.mark.parametrize("name", ["fine-tuning", "lora"])
def test_a_baseline_learns_and_leaves_the_base_as_it_was(
    base: plm.BaseModel,
    triples: tuple[Triple, ...],
    templates: dict[str, RelationTemplates],
    name: str,
) -> None:
    before = {part: tensor.clone() for part, tensor in base.parameters.items()}
    learned = learn(base, split_of(triples), templates["IsA"], CONFIG, make(name, base), seed=0)
    assert learned.step > 0
    assert learned.validation["mrr"] > learned.validation["unmasked_mrr"]
    for part, tensor in base.parameters.items():
        assert torch.equal(tensor, before[part]), part
    own = weights(base)
    settled = learned.specialisation.settled(own)
    assert any(not torch.equal(settled[part], own[part]) for part in own)


def test_lora_is_what_peft_computes(base: plm.BaseModel) -> None:
    lora = LoRA(weights(base), rank=4, alpha=8, seed=3)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in lora.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=random))
    masked = lora.masked(weights(base))
    for name, part in zip(lora.names, lora._parts, strict=True):
        states = torch.randn(5, masked[name].shape[1], generator=random)
        torch.testing.assert_close(
            functional.linear(states, masked[name]), part(states), atol=1e-4, rtol=1e-4
        )


def test_lora_trains_its_factors_alone(base: plm.BaseModel) -> None:
    lora = LoRA(weights(base), rank=4)
    assert sum(part.numel() for part in lora.parameters()) == sum(
        4 * sum(shape) for shape in base.shapes(*layer_range(base, CONFIG)).values()
    )
    twin = copy.deepcopy(lora)
    with torch.no_grad():
        next(twin.parameters()).add_(1.0)
    assert not torch.equal(next(twin.parameters()), next(lora.parameters()))
    again = LoRA(weights(base), rank=4, seed=1)
    assert not torch.equal(next(again.parameters()), next(lora.parameters()))


def test_facts_with_a_near_subject_vote_for_their_objects(
    base: plm.BaseModel, many_triples: tuple[Triple, ...]
) -> None:
    split = split_by_fact(many_triples, seed=0)
    votes, worth = nearest_facts(base, split.train, split.validation, split.train)
    torch.testing.assert_close(votes.sum(dim=1), torch.ones(len(split.train)))
    objects = {plm.object_token_id(base, fact.object) for fact in split.train}
    assert set(votes.sum(dim=0).nonzero()[:, 0].tolist()) == objects
    # Nothing is nearer to a subject than itself.
    own = torch.tensor([plm.object_token_id(base, fact.object) for fact in split.train])
    assert torch.equal(votes.argmax(dim=1), own)
    # Near subjects share a kind here, so that even random states beat chance.
    assert worth > 0.6
    shuffled, _ = nearest_facts(base, split.train[::-1], split.validation, split.train)
    torch.testing.assert_close(shuffled, votes, atol=1e-5, rtol=1e-4)


def test_nearest_words_are_ranked_by_the_cosine_of_embeddings(base: plm.BaseModel) -> None:
    facts = [Triple("red dog", "IsA", "animal"), Triple("saw", "IsA", "tool")]
    scores = nearest_objects(base, facts)
    words = model_of(base).get_input_embeddings().weight.detach()
    ids = tokenizer_of(base).convert_tokens_to_ids(["red", "dog"])
    other = tokenizer_of(base).convert_tokens_to_ids("barn")
    expected = functional.cosine_similarity(words[ids].mean(dim=0), words[other], dim=0)
    assert scores[0, other] == pytest.approx(float(expected), abs=1e-6)
    assert (scores[0, ids] == -1).all()
    assert scores.shape == (2, base.vocab_size)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(relata.app, [str(argument) for argument in arguments])


@pytest.fixture
def learned(tmp_path: Path, base_folder: Path, triples: tuple[Triple, ...]) -> Path:
    rows = [f"{fact.subject}\t{fact.relation}\t{fact.object}" for fact in triples]
    (tmp_path / "facts.tsv").write_text("subject\trelation\tobject\n" + "\n".join(rows) + "\n")
    settings = ("--epochs", "1", "--batch-size", "4", "--base", base_folder)
    done = run("train", "--data", tmp_path / "facts.tsv", "--out", tmp_path / "run", *settings)
    assert done.exit_code == 0, done.output
    return tmp_path


def test_baselines_stand_beside_the_masks_and_are_learned_once(
    learned: Path, base_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (
        *("baselines", "--pack", learned / "run" / "pack", "--epochs", "1"),
        *("--split", learned / "run" / "split.jsonl", "--base", base_folder),
        *("--out", learned / "beside"),
    )
    first = run(*command)
    assert first.exit_code == 0, first.output
    report = Evaluation.from_json((learned / "beside" / "report.json").read_text())
    assert {
        "masked",
        "unmasked",
        "fine-tuning",
        "LoRA, rank 8",
        "nearest words",
        "nearest facts",
    } <= set(report.systems)
    assert report.relations == ("AtLocation", "IsA")
    record = json.loads((learned / "beside" / "IsA.lora.json").read_text())
    assert record["rate"] in (3e-4, 1e-3, 3e-3)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("it was learned already")

    monkeypatch.setattr("training.baselines.run.learn", never)
    again = run(*command)
    assert again.exit_code == 0, again.output
    repeated = Evaluation.from_json((learned / "beside" / "report.json").read_text())
    assert repeated.results == report.results


def test_mistakes_say_what_would_be_right(
    learned: Path, base_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack, out = learned / "run" / "pack", learned / "beside"
    common = ("baselines", "--pack", pack, "--out", out, "--base", base_folder)
    split = ("--split", learned / "run" / "split.jsonl")

    def told(*arguments: str | Path) -> str:
        done = run(*common, *arguments)
        assert done.exit_code != 0
        return str(done.exception) + done.output

    assert "either --split" in told()
    assert "its relations are AtLocation, IsA" in told(*split, "--relation", "Eats")
    assert "there are fine-tuning, LoRA" in told(*split, "--only", "magic")
    assert "learned from other facts" in told("--data", learned / "facts.tsv", "--seed", "7")
    out.mkdir()
    (out / "AtLocation.fine-tuning.json").write_text("{")
    assert "is not readable" in told(*split, "--only", "fine-tuning")
    monkeypatch.setattr("training.baselines.run.find_spec", lambda _: None)
    assert "needs the package peft" in told(*split)
