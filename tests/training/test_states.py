import pytest
import torch

import plm
from tests.hugging_face import model_of, tokenizer_of
from training.data import RelationTemplates, Triple
from training.learning import LowerStates, layers_with, prompts_of, ranks_of
from training.learning.scoring import logits_of

FIRST = 3


def weights(base: plm.BaseModel) -> dict[str, torch.Tensor]:
    return {name: base.weight(name) for name in base.shapes(FIRST, base.layer_count)}


@pytest.mark.parametrize("max_bytes", [2**30, 0], ids=["cached", "run each time"])
def test_logits_from_states_equal_those_of_the_hugging_face_model(
    base: plm.BaseModel,
    triples: tuple[Triple, ...],
    templates: dict[str, RelationTemplates],
    max_bytes: int,
) -> None:
    facts = [fact for fact in triples if fact.relation == "IsA"]
    prompts = prompts_of(base, facts, templates["IsA"].training)
    states = LowerStates(base, prompts.encoded, FIRST, max_bytes=max_bytes)
    layers = layers_with(base, FIRST, base.layer_count, weights(base))
    indices = torch.tensor([5, 0, 7, 2])  # of both wordings, so of two lengths
    ours = logits_of(base, states.batch(indices), layers)
    for row, index in enumerate(indices.tolist()):
        prompt = prompts.encoded[index]
        theirs = model_of(base)(input_ids=torch.tensor([prompt.input_ids])).logits
        torch.testing.assert_close(ours[row], theirs[0, prompt.mask_position], atol=1e-5, rtol=1e-5)


def test_prompts_go_fact_by_fact_through_the_wordings(
    base: plm.BaseModel, templates: dict[str, RelationTemplates]
) -> None:
    facts = [Triple("dog", "IsA", "animal"), Triple("saw", "IsA", "tool")]
    prompts = prompts_of(base, facts, templates["IsA"].training)
    assert [prompt.text for prompt in prompts.encoded] == [
        "the dog is one [MASK] .",
        "dog is a [MASK] .",
        "the saw is one [MASK] .",
        "saw is a [MASK] .",
    ]
    assert prompts.wordings == 2
    assert tokenizer_of(base).convert_ids_to_tokens(prompts.targets.tolist()) == ["animal", "tool"]


def test_only_the_prompts_asked_for_are_run(
    base: plm.BaseModel, triples: tuple[Triple, ...], templates: dict[str, RelationTemplates]
) -> None:
    prompts = prompts_of(base, triples[:8], templates["IsA"].training)
    whole = LowerStates(base, prompts.encoded, FIRST)
    part = LowerStates(base, prompts.encoded, FIRST, only=torch.tensor([9, 2, 9, 5]))
    indices = torch.tensor([5, 9, 2])
    torch.testing.assert_close(part.batch(indices).hidden, whole.batch(indices).hidden)
    assert part.kept_tokens == int(whole.lengths[indices].sum()) < whole.kept_tokens


def test_ranks_come_back_in_the_order_of_the_facts(
    base: plm.BaseModel, triples: tuple[Triple, ...], templates: dict[str, RelationTemplates]
) -> None:
    facts = [fact for fact in triples if fact.relation == "AtLocation"]
    layers = layers_with(base, FIRST, base.layer_count, weights(base))

    def ranks(chosen: list[Triple]) -> list[int]:
        prompts = prompts_of(base, chosen, [templates["AtLocation"].evaluation])
        states = LowerStates(base, prompts.encoded, FIRST)
        return ranks_of(base, states, prompts.targets, layers).optimistic.tolist()

    together = ranks(facts)
    assert together == [ranks([fact])[0] for fact in facts]
    assert len(set(together)) > 1
