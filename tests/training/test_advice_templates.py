"""Templates out of a relation's name, and their ranks under the unmasked model."""

from pathlib import Path

import pytest
import torch

import plm
from tests.hugging_face import model_of, tokenizer_of
from training.advice import (
    complete_templates,
    name_words,
    propose_templates,
    rank_templates,
    wordings_of,
)
from training.data import DataError, RelationTemplates, Triple, load_templates, split_by_fact


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("StoredIn", "stored in"),
        ("stored_in", "stored in"),
        ("stored-in", "stored in"),
        ("people/person/place_of_birth", "place of birth"),
        ("hasRGBColour", "has rgb colour"),
        ("P19", ""),
        ("42", ""),
    ],
)
def test_the_words_of_a_name(name: str, words: str) -> None:
    assert " ".join(name_words(name)) == words


@pytest.mark.parametrize(
    ("name", "wanted", "unwanted"),
    [
        ("StoredIn", "[X] is stored in the [Y].", "[X] stored in [Y]."),
        ("WorksAt", "A [X] works at the [Y].", "[X] is works at [Y]."),
        ("Capital", "The capital of [X] is [Y].", "[X] is capital [Y]."),
        ("HasColour", "The colour of [X] is [Y].", "[X] has colour the [Y]."),
        ("IsA", "[X] is a [Y].", "[X] is a a [Y]."),
        ("InCountry", "[X] is in the country [Y].", "[X] is in country the [Y]."),
        ("AuthorOf", "[X] is the author of [Y].", "[X] can be author of the [Y]."),
        ("Has", "[X] has a [Y].", "The of [X] is [Y]."),
        ("Of", "[X] is of [Y].", "[X] is the of [Y]."),
        ("P19", "[X]: [Y].", "[X] is p [Y]."),
    ],
)
def test_wordings_read_as_their_name_is_built(name: str, wanted: str, unwanted: str) -> None:
    texts = wordings_of(name)
    assert wanted in texts
    assert unwanted not in texts
    assert len(set(texts)) == len(texts) >= 5
    # All of them are templates that a mask can be learned from.
    RelationTemplates(name, texts[0], texts[1:])
    for text in texts:
        plm.Template.parse(text)


def test_templates_are_ranked_as_the_model_itself_ranks(
    base: plm.BaseModel, triples: tuple[Triple, ...]
) -> None:
    facts = [triple for triple in triples if triple.relation == "IsA"]
    texts = ["a [X] is a [Y] .", "[Y] of [X]", "the [X] is one [Y] ."]
    ranked = rank_templates(base, facts, texts)
    assert sorted(one.text for one in ranked) == sorted(texts)
    assert [one.mrr for one in ranked] == sorted((one.mrr for one in ranked), reverse=True)
    for one in ranked:
        reciprocal, log_probability = 0.0, 0.0
        for fact in facts:
            text = one.text.replace("[X]", fact.subject).replace("[Y]", "[MASK]")
            ids = tokenizer_of(base)(text, return_tensors="pt")
            place = int((ids["input_ids"][0] == base.mask_token_id).nonzero())
            with torch.no_grad():
                logits = model_of(base)(**ids).logits[0, place]
            target = plm.object_token_id(base, fact.object)
            reciprocal += 1 / (1 + int((logits > logits[target]).sum()))
            log_probability += float(logits.log_softmax(0)[target])
        assert one.facts == len(facts) == 16
        assert one.mrr == pytest.approx(reciprocal / 16, abs=1e-5)
        assert one.log_probability == pytest.approx(log_probability / 16, abs=1e-4)
    assert rank_templates(base, facts, texts[:1], most=5)[0].facts == 4


def test_facts_that_make_no_prompt_are_left_out_for_all_templates(base: plm.BaseModel) -> None:
    facts = [Triple("dog", "IsA", "animal"), Triple("dog " * 36, "IsA", "animal")]
    long, short = "a [X] is one kind of [Y] .", "[X] [Y]"
    assert {one.facts for one in rank_templates(base, facts, [long, short])} == {1}
    with pytest.raises(DataError, match="too long"):
        rank_templates(base, facts[1:], [long, short])


def test_the_best_proposal_is_for_evaluation(
    base: plm.BaseModel, triples: tuple[Triple, ...]
) -> None:
    facts = tuple(triple for triple in triples if triple.relation == "IsA")
    proposal = propose_templates(base, "IsA", facts)
    texts = [one.text for one in proposal.ranked]
    assert proposal.templates.evaluation == texts[0]
    assert proposal.templates.training == tuple(texts[1:7])


def test_missing_templates_are_proposed_on_training_facts_and_kept(
    base: plm.BaseModel,
    triples: tuple[Triple, ...],
    templates: dict[str, RelationTemplates],
    tmp_path: Path,
) -> None:
    own = [*triples, *(Triple(one.subject, "LivesIn", one.object) for one in triples[16:])]
    path = tmp_path / "run" / "templates.json"
    known, proposals = complete_templates(base, own, templates, seed=3, kept=path)
    assert proposals.keys() == {"LivesIn"}
    assert {name: known[name] for name in templates} == templates
    train = split_by_fact(own[32:], seed=3).train
    assert proposals["LivesIn"].ranked == rank_templates(base, train, wordings_of("LivesIn"))
    assert load_templates(path) == {"LivesIn": known["LivesIn"]}

    # What was kept is asked again, whatever the facts would propose now.
    mine = RelationTemplates("LivesIn", "the [X] is in the [Y] .", ("[X] is in a [Y] .",))
    path.write_text(
        '{"LivesIn": {"evaluation": "the [X] is in the [Y] .", "training": ["[X] is in a [Y] ."]}}'
    )
    again, proposals = complete_templates(base, own, templates, seed=3, kept=path)
    assert (again["LivesIn"], proposals) == (mine, {})
