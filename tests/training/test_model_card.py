"""The card of a pack: what a reader of the hub sees, and whether it is true."""

import json
import re
import shlex

import pytest
import yaml

import plm
from masks import MaskPack
from training.data import RelationTemplates, Triple
from training.evaluation import Evaluation
from training.facts import read_facts
from training.learning import LearnConfig
from training.model_card import model_card
from training.plan import Plan
from training.run import PACK, evaluate_run, train


@pytest.fixture(scope="module")
def assessed(
    base: plm.BaseModel,
    many_triples: tuple[Triple, ...],
    triples: tuple[Triple, ...],
    templates: dict[str, RelationTemplates],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[MaskPack, Evaluation]:
    folder = tmp_path_factory.mktemp("card")
    few = [fact for fact in triples if fact.relation == "AtLocation"]
    rows = [f"{fact.subject}\t{fact.relation}\t{fact.object}\n" for fact in (*many_triples, *few)]
    (folder / "facts.tsv").write_text("subject\trelation\tobject\n" + "".join(rows))
    facts = read_facts(base, [folder / "facts.tsv"], templates)
    config = LearnConfig(learning_rate=3e-3, epochs=1, batch_size=8)
    plan = Plan(facts, None, templates, config, seed=0, pack_name="animals")
    pack = train(base, plan, folder / "run")
    return pack, evaluate_run(base, plan, folder / "run")


def test_the_card_travels_with_the_pack(assessed: tuple[MaskPack, Evaluation]) -> None:
    pack, evaluation = assessed
    assert pack.folder.name == PACK
    assert (pack.folder / "README.md").read_text() == model_card(pack, evaluation)


def test_the_front_matter_is_what_the_hub_reads(assessed: tuple[MaskPack, Evaluation]) -> None:
    _, front, body = model_card(*assessed).split("---\n", 2)
    assert yaml.safe_load(front)["library_name"] == "relata"
    assert body.lstrip().startswith("# animals")


def test_the_card_has_identity_figures_and_verdict(assessed: tuple[MaskPack, Evaluation]) -> None:
    pack, evaluation = assessed
    card = model_card(pack, evaluation)
    for part in (pack.base_digest, evaluation.provenance.data_digest, "facts.tsv", "seed 0"):
        assert part in card
    counts = [
        str(pack.load("IsA").metadata.facts[part]) for part in ("train", "validation", "test")
    ]
    assert f"| IsA | {' / '.join(counts)} |" in card
    assert "AtLocation: too few test facts (2) to tell whether the mask is worth having" in card


def test_the_request_in_the_card_can_be_sent(assessed: tuple[MaskPack, Evaluation]) -> None:
    found = re.search(r"^  -d (.*)$", model_card(*assessed), re.MULTILINE)
    assert found is not None
    (body,) = shlex.split(found[1])
    assert json.loads(body)["relation"] in assessed[0].relations
