"""Objects of several tokens: asked for with as many mask tokens, ranked among their relation's."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.utils import prune
from transformers import AutoModelForMaskedLM
from typer.testing import CliRunner

import plm
import relata
from masks import MaskPack
from tests.hugging_face import tokenizer_of
from training.data import DataError, RelationTemplates, Split, Triple, load_split
from training.evaluation import Evaluation, rank_targets
from training.facts import askable
from training.learning import (
    LearnConfig,
    layers_under,
    learn_mask,
    learn_masks,
    objects_to_rank,
    prompts_of,
    questions_of,
)
from training.learning.questions import CandidateQuestions

TEMPLATE = "a [X] is a [Y] ."
OBJECTS = ("animal", "big animal", "small red tool", "tool")
FACTS = tuple(
    Triple(subject, "IsA", OBJECTS[number % len(OBJECTS)])
    for number, subject in enumerate(("dog", "cat", "horse", "big cow", "saw", "small axe"))
)
LAYERS = (3, 4)


def halved(base: plm.BaseModel) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {name: random.random(shape) < 0.8 for name, shape in base.shapes(*LAYERS).items()}


def slow_scores(
    base: plm.BaseModel, base_folder: Path, keep: dict[str, np.ndarray], subject: str
) -> list[float]:
    """The mean log-probability of each object's tokens, by the Hugging Face model itself."""
    model = AutoModelForMaskedLM.from_pretrained(base_folder, dtype=torch.float32).eval()
    for name, bits in keep.items():
        module = model.get_submodule(name.removesuffix(".weight"))
        prune.custom_from_mask(module, "weight", torch.from_numpy(bits))
    scores = []
    for text in OBJECTS:
        ids = tokenizer_of(base)(text, add_special_tokens=False)["input_ids"]
        sentence = f"a {subject} is a {' '.join(['[MASK]'] * len(ids))} ."
        encoded = tokenizer_of(base)(sentence, return_tensors="pt")
        places = (encoded["input_ids"][0] == base.mask_token_id).nonzero()[:, 0]
        with torch.no_grad():
            shares = model(**encoded).logits[0].log_softmax(dim=-1)
        scores.append(
            float(np.mean([float(shares[at, one]) for at, one in zip(places, ids, strict=True)]))
        )
    return scores


def test_scores_are_those_of_the_pruned_hugging_face_model(
    base: plm.BaseModel, base_folder: Path
) -> None:
    keep = halved(base)
    questions = questions_of(base, FACTS, TEMPLATE, LAYERS[0], OBJECTS)
    assert isinstance(questions, CandidateQuestions)
    ours = questions.scores(layers_under(base, LAYERS, keep))
    theirs = torch.tensor([slow_scores(base, base_folder, keep, fact.subject) for fact in FACTS])
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    targets = torch.tensor([OBJECTS.index(fact.object) for fact in FACTS])
    assert questions.ranks(layers_under(base, LAYERS, keep)) == rank_targets(theirs, targets)


def test_scores_are_those_that_a_server_gives(base: plm.BaseModel) -> None:
    questions = questions_of(base, FACTS, TEMPLATE, LAYERS[0], OBJECTS)
    assert isinstance(questions, CandidateQuestions)
    keep = {name: np.ones(shape, dtype=bool) for name, shape in base.shapes(*LAYERS).items()}
    ours = questions.scores(layers_under(base, LAYERS, keep))
    tokens = plm.tokenise_objects(base, OBJECTS, most=8)
    candidates = plm.Candidates.of([ids for ids in tokens if isinstance(ids, tuple)])
    engine = plm.Engine(base)
    for row, fact in enumerate(FACTS):
        prompt = plm.encode_prompt(base, plm.Template.parse(TEMPLATE), fact.subject)
        readings = engine.read(plm.candidate_probes(base, prompt, None, candidates))
        served = plm.candidate_scores(candidates, readings)
        np.testing.assert_allclose(ours[row].numpy(), served, atol=1e-4)


def test_each_fact_counts_alike_however_long_its_object_is(base: plm.BaseModel) -> None:
    prompts = prompts_of(base, FACTS, [TEMPLATE], most=4)
    assert prompts.counts.tolist() == [1, 2, 3, 1, 1, 2]
    assert [prompt.masks for prompt in prompts.encoded] == prompts.counts.tolist()
    assert [prompt.input_ids.count(base.mask_token_id) for prompt in prompts.encoded] == (
        prompts.counts.tolist()
    )
    tokens, shares = prompts.tokens_of(torch.tensor([2, 0]))
    assert tokenizer_of(base).convert_ids_to_tokens(tokens.tolist()) == [
        *("small", "red", "tool", "animal"),
    ]
    torch.testing.assert_close(shares, torch.tensor([1 / 6, 1 / 6, 1 / 6, 1 / 2]))
    with pytest.raises(ValueError, match="no single target"):
        _ = prompts.targets


def test_an_object_that_is_not_ranked_is_refused(base: plm.BaseModel) -> None:
    with pytest.raises(DataError, match="object 'small red tool' is not among the 2 ranked"):
        questions_of(base, FACTS[2:3], TEMPLATE, 3, ["tool", "animal", "Animal"])


def test_relations_of_single_tokens_are_ranked_among_all(base: plm.BaseModel) -> None:
    single = [Triple("dog", "LivesIn", "barn"), Triple("cat", "LivesIn", "house")]
    assert objects_to_rank(base, [*FACTS, *single]) == {"IsA": OBJECTS}


def test_a_prompt_must_have_room_for_the_longest_object(
    base: plm.BaseModel, templates: dict[str, RelationTemplates]
) -> None:
    subject = " ".join(["dog"] * 30)
    facts = [Triple(subject, "IsA", "animal"), FACTS[0]]
    assert len(askable(base, facts, templates).triples) == 2
    kept, rejected = askable(base, facts, templates, most=8)
    assert kept == (FACTS[0],)
    assert "with an object of 8 tokens the prompt" in rejected[0].reason


def many() -> tuple[Triple, ...]:
    kinds = {"dog": 1, "cat": 1, "horse": 1, "cow": 1, "hammer": 2, "saw": 2, "axe": 2, "drill": 2}
    looks = ("", "big ", "small ", "red ", "big red ", "one ")
    return tuple(
        Triple(look + word, "IsA", OBJECTS[place])
        for look in looks
        for word, place in kinds.items()
    )


def test_a_mask_is_learned_for_objects_of_several_tokens(
    base: plm.BaseModel, templates: dict[str, RelationTemplates]
) -> None:
    facts = many()
    split = Split(facts[:32], facts[32:40], facts[40:])
    config = LearnConfig(learning_rate=3e-3, epochs=10, batch_size=8, patience=0)
    (mask,) = learn_masks(
        base, [(split, templates["IsA"])], config, seed=0, objects={"IsA": OBJECTS}
    )
    assert mask.step > 0
    assert mask.validation["mrr"] > mask.validation["unmasked_mrr"]
    # Without being told what they are ranked among, one token is what an object has.
    with pytest.raises(plm.ObjectError, match="must be exactly one"):
        learn_mask(base, split, templates["IsA"], replace(config, epochs=1), seed=0)


def test_from_a_spreadsheet_to_masks_and_baselines(base_folder: Path, tmp_path: Path) -> None:
    rows = [f"{fact.subject},Kind,{fact.object}" for fact in many()]
    rows += [f"{word},Place,barn" for word in ("dog", "cat", "horse", "cow", "pig", "hen")]
    (tmp_path / "own.csv").write_text("\n".join(["subject,relation,object", *rows]) + "\n")
    (tmp_path / "templates.json").write_text(
        '{"Kind": {"evaluation": "a [X] is a [Y] .", "training": ["the [X] is one [Y] ."]},'
        ' "Place": {"evaluation": "a [X] is in the [Y] .", "training": ["the [X] was in a [Y] ."]}}'
    )
    data = ("--data", tmp_path / "own.csv", "--templates", tmp_path / "templates.json")
    settings = ("--base", base_folder, "--epochs", "1", "--object-tokens", "4")

    def run(*arguments: object) -> str:
        result = CliRunner().invoke(relata.app, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output
        return result.output

    output = run("train", *data, *settings, "--out", tmp_path / "run", "--learning-curve")
    assert "its objects have several tokens, which nothing is fitted for" in " ".join(
        output.split()
    )
    pack = MaskPack.open(tmp_path / "run" / "pack")
    assert pack.relations == ("Kind", "Place")
    split = load_split(tmp_path / "run" / "split.jsonl")
    report = Evaluation.from_json((tmp_path / "run" / "report.json").read_text())
    for system in report.systems:
        ranks = report.of_system(system)["Kind"].ranks
        assert len(ranks) == len(split.of_relation("Kind").test)
        assert ranks.pessimistic.max() <= 2  # animals and tools of two kinds
    again = ("--pack", pack.folder, "--split", tmp_path / "run" / "split.jsonl")
    run("evaluate", *again, "--base", base_folder, "--out", tmp_path / "again")
    theirs = Evaluation.from_json((tmp_path / "again" / "report.json").read_text())
    assert theirs.of_system("masked")["Kind"] == report.of_system("masked")["Kind"]
    assert theirs.of_system("frequency prior") == report.of_system("frequency prior")
    only = ("--only", "fine-tuning", "--epochs", "1")
    run("baselines", *again, "--base", base_folder, *only, "--out", tmp_path / "beside")
    beside = Evaluation.from_json((tmp_path / "beside" / "report.json").read_text())
    assert set(beside.of_system("fine-tuning")) == {"Kind", "Place"}
    assert set(beside.of_system("nearest words")) == {"Place"}
