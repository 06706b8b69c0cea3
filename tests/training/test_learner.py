from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import plm
from training.data import RelationTemplates, Split, Triple, split_by_fact
from training.learning import LearnConfig, LearnProgress, learn_mask, learn_masks, preset
from training.learning.lesson import batches_of_a_pass, rate_at

CONFIG = LearnConfig(learning_rate=3e-3, epochs=20, batch_size=4, schedule="constant", patience=0)


def split_of(triples: tuple[Triple, ...], relation: str = "IsA") -> Split:
    return split_by_fact(triples, seed=0).of_relation(relation)


def test_a_mask_is_learned_that_beats_the_unmasked_model_on_validation(
    base: plm.BaseModel, triples: tuple[Triple, ...], templates: dict[str, RelationTemplates]
) -> None:
    seen: list[LearnProgress] = []
    learned = learn_mask(
        base, split_of(triples), templates["IsA"], CONFIG, seed=0, report=seen.append
    )
    assert learned.layers == (3, 4)
    assert set(learned.keep) == set(base.shapes(3, 4))
    assert learned.validation["mrr"] > learned.validation["unmasked_mrr"]
    assert seen[-1].step == seen[-1].steps == learned.steps
    assert seen[-1].loss < seen[0].loss


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("stochastic", {"score_mean": 0.5, "score_deviation": 0.05, "learning_rate": 0.1}),
        ("top-k", {"options": {"sparsity": 0.2}}),
        ("hard-concrete", {"score_mean": 2.0, "score_deviation": 0.1, "learning_rate": 0.2}),
    ],
)
def test_every_method_learns(
    base: plm.BaseModel,
    triples: tuple[Triple, ...],
    templates: dict[str, RelationTemplates],
    method: str,
    settings: dict[str, Any],
) -> None:
    config = replace(CONFIG, method=method, **settings)
    learned = learn_mask(base, split_of(triples), templates["IsA"], config, seed=0)
    assert learned.step > 0
    assert learned.validation["mrr"] > learned.validation["unmasked_mrr"]
    if method == "top-k":
        for keep in learned.keep.values():
            assert keep.sum() == keep.size - round(0.2 * keep.size)


def test_relations_learned_together_are_learned_as_if_alone(
    base: plm.BaseModel, triples: tuple[Triple, ...], templates: dict[str, RelationTemplates]
) -> None:
    config = replace(CONFIG, epochs=6, batch_size=3, patience=3)
    relations = [(split_of(triples, name), templates[name]) for name in ("IsA", "AtLocation")]
    seen: list[int] = []
    together = learn_masks(
        base, relations, config, seed=0, report=lambda number, _: seen.append(number)
    )
    assert set(seen) == {0, 1}
    for (split, wording), ours in zip(relations, together, strict=True):
        alone = learn_mask(base, split, wording, config, seed=0)
        assert (ours.step, ours.steps) == (alone.step, alone.steps)
        assert ours.validation == pytest.approx(alone.validation)
        # Rounding may tip a score that lies at the threshold.
        differ = sum(int((ours.keep[name] != alone.keep[name]).sum()) for name in ours.keep)
        assert differ <= 3
    assert not all(
        np.array_equal(together[0].keep[name], together[1].keep[name]) for name in together[0].keep
    )


def test_the_base_is_left_as_it_was(
    base: plm.BaseModel, triples: tuple[Triple, ...], templates: dict[str, RelationTemplates]
) -> None:
    before = {name: tensor.clone() for name, tensor in base.parameters.items()}
    learn_mask(base, split_of(triples), templates["IsA"], replace(CONFIG, epochs=1), seed=0)
    for name, tensor in base.parameters.items():
        assert torch.equal(tensor, before[name]), name


def test_the_same_seed_gives_the_same_mask_and_another_seed_another(
    base: plm.BaseModel, triples: tuple[Triple, ...], templates: dict[str, RelationTemplates]
) -> None:
    def bits(seed: int) -> np.ndarray:
        config = replace(CONFIG, epochs=2)
        learned = learn_mask(base, split_of(triples), templates["IsA"], config, seed=seed)
        return np.concatenate([learned.keep[name].ravel() for name in sorted(learned.keep)])

    assert np.array_equal(bits(0), bits(0))
    assert not np.array_equal(bits(0), bits(1))


def test_the_test_facts_are_not_looked_at(
    base: plm.BaseModel, triples: tuple[Triple, ...], templates: dict[str, RelationTemplates]
) -> None:
    split = split_of(triples)
    poisoned = replace(split, test=(Triple("not", "IsA", "in the vocabulary at all"),))
    config = replace(CONFIG, epochs=1)
    ours = learn_mask(base, split, templates["IsA"], config, seed=0)
    theirs = learn_mask(base, poisoned, templates["IsA"], config, seed=0)
    assert all(np.array_equal(ours.keep[name], theirs.keep[name]) for name in ours.keep)


def test_patience_stops_early(
    base: plm.BaseModel, triples: tuple[Triple, ...], templates: dict[str, RelationTemplates]
) -> None:
    config = replace(CONFIG, epochs=60, patience=2)
    learned = learn_mask(base, split_of(triples), templates["IsA"], config, seed=0)
    whole = 60 * -(-len(split_of(triples).train) // CONFIG.batch_size)
    assert learned.steps < whole


def test_a_pass_shows_every_fact_once_under_one_wording() -> None:
    lengths = torch.randint(5, 12, (30,))  # ten facts, three wordings
    batches = batches_of_a_pass(lengths, 3, 4, torch.Generator().manual_seed(0))
    facts = torch.cat(batches) // 3
    assert sorted(facts.tolist()) == list(range(10))
    assert max(len(batch) for batch in batches) == 4


def test_a_step_can_show_a_fact_under_several_wordings() -> None:
    lengths = torch.randint(5, 12, (30,))
    batches = batches_of_a_pass(lengths, 3, 4, torch.Generator().manual_seed(0), shown=2)
    assert [len(batch) for batch in batches].count(8) == 2
    for batch in batches:
        facts, wordings = batch.view(-1, 2) // 3, batch.view(-1, 2) % 3
        assert torch.equal(facts[:, 0], facts[:, 1])
        assert bool((wordings[:, 0] != wordings[:, 1]).all())
    # No more than there are.
    whole = batches_of_a_pass(lengths, 3, 4, torch.Generator().manual_seed(0), shown=9)
    assert sorted(torch.cat(whole).tolist()) == list(range(30))


def test_in_bfloat16_nearly_the_same_is_learned(
    base: plm.BaseModel, triples: tuple[Triple, ...], templates: dict[str, RelationTemplates]
) -> None:
    config = replace(CONFIG, epochs=6)
    ours, theirs = (
        learn_mask(
            base, split_of(triples), templates["IsA"], replace(config, precision=precision), seed=0
        )
        for precision in ("bfloat16", "float32")
    )
    assert ours.validation["mrr"] > ours.validation["unmasked_mrr"]
    flipped = [np.mean(ours.keep[name] != theirs.keep[name]) for name in ours.keep]
    assert 0 < max(flipped) < 0.05  # other bits, but not many


def test_the_rate_rises_linearly_over_the_warm_up_and_then_stays_or_falls() -> None:
    level = LearnConfig(warmup_share=0.1, schedule="constant")
    assert [rate_at(step, 100, level) for step in (0, 4, 9, 50, 99)] == [0.1, 0.5, 1.0, 1.0, 1.0]
    falling = LearnConfig(warmup_share=0.1, schedule="linear")
    assert rate_at(55, 100, falling) == pytest.approx(0.5)
    assert rate_at(99, 100, falling) == pytest.approx(1 / 90)
    cosine = LearnConfig(warmup_share=0.1, schedule="cosine")
    assert rate_at(4, 100, cosine) == 0.5
    assert rate_at(55, 100, cosine) == pytest.approx(0.5)
    assert rate_at(99, 100, cosine) < 1e-3


def test_the_papers_preset_is_the_papers() -> None:
    paper = preset("paper")
    assert (paper.score_average, paper.patience, paper.schedule) == (0.0, 0, "constant")
    assert (paper.score_mean, paper.score_deviation) == (0.0, 1.0)
    assert (paper.learning_rate, paper.epochs, paper.batch_size) == (3e-4, 6, 32)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("epochs", 0, "epochs must be at least 1"),
        ("learning_rate", 0.0, "learning_rate must be positive"),
        ("learning_rate", float("nan"), "learning_rate must be positive"),
        ("wordings", 0, "wordings must be at least 1"),
        ("remember", -0.1, "remember must not be negative"),
        ("schedule", "square", "schedule is constant, linear, cosine, not 'square'"),
        ("precision", "int8", "precision is float32, bfloat16, not 'int8'"),
        ("warmup_share", 1.0, "warmup_share must be"),
        ("score_average", 1.0, "score_average must be"),
        ("first_layer", 0, "first_layer counts from 1"),
        ("patience", -1, "patience must not be negative"),
    ],
)
def test_bad_settings_are_named(field: str, value: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LearnConfig(**{field: value})


def test_a_layer_beyond_the_base_is_refused(
    base: plm.BaseModel, triples: tuple[Triple, ...], templates: dict[str, RelationTemplates]
) -> None:
    config = replace(CONFIG, first_layer=9)
    with pytest.raises(ValueError, match="first_layer is 1 to 4"):
        learn_mask(base, split_of(triples), templates["IsA"], config, seed=0)


def test_the_papers_stochastic_masks_are_served_as_their_expectation() -> None:
    paper, stochastic = preset("paper"), preset("paper-stochastic")
    assert (stochastic.method, stochastic.export) == ("stochastic", "expectation")
    assert replace(stochastic, method="deterministic", export="binary") == paper
    assert preset("stochastic").export == "binary"


def test_unknown_presets_are_refused_with_the_known_ones() -> None:
    with pytest.raises(
        ValueError,
        match=r"unknown preset 'x'.*near-identity, paper",
    ):
        preset("x")
