"""The measures of the study, where they can be worked out by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import plm
from training.evaluation import mean_reciprocal_rank
from training.learning import layers_under, learn_mask, multipliers_of, preset, questions_of
from training.study.ablation import measure_ablation
from training.study.attention import attention_of, measure_attention
from training.study.embedding import measure_embedding
from training.study.layers import SPARSITIES, measure_layers, starts
from training.study.overlap import chance_overlap, measure_overlap
from training.study.section import NotApplicableError
from training.study.seeds import measure_seeds
from training.study.studied import Studied

from .conftest import LAYERS, MakeMask


def test_overlap_is_counted_and_set_beside_chance(base: plm.BaseModel, make_mask: MakeMask) -> None:
    keep = {name: np.ones(shape, dtype=bool) for name, shape in base.shapes(*LAYERS).items()}
    first, second = sorted(keep)[:2]
    ours = {**keep, first: keep[first].copy()}
    ours[first][:2] = False  # two rows
    theirs = {**keep, first: keep[first].copy(), second: keep[second].copy()}
    theirs[first][1:3] = False  # one row in common, one more
    study = measure_overlap([make_mask("B", keep=theirs), make_mask("A", keep=ours)])
    assert study.relations == ("A", "B")
    assert study.removed[0][1] == pytest.approx(1 / 3)
    # The same matrix, 2 of its rows each: n p q over n (p + q - p q).
    share = 2 / len(keep[first])
    assert study.chance[0][1] == pytest.approx(share**2 / (2 * share - share**2))
    assert study.pairs[0][:2] == ("B", "A")
    removed = sum(sum(one.roles) > 0 for one in study.sparsities)
    assert removed == 2
    assert study.layers == LAYERS


def test_random_masks_agree_by_chance(make_mask: MakeMask) -> None:
    one, other = (make_mask(name, share=0.3, seed=seed) for name, seed in (("A", 1), ("B", 2)))
    study = measure_overlap([one, other])
    assert study.removed[0][1] == pytest.approx(chance_overlap(one, other), abs=0.01)
    assert chance_overlap(one, one) < 1


def test_a_part_left_out_is_the_mask_with_that_part_whole(studied: Studied) -> None:
    study = measure_ablation(studied)
    rows = {row.system: row for row in study.rows}
    assert next(iter(rows)) == "masked"
    assert rows["masked"].lost.estimate == 0
    assert {"unmasked", "mismatched masks", "without layer 3", "without query"} <= set(rows)
    values = []
    for name in ("A", "B"):
        whole = multipliers_of(studied.masks[name])
        spared = {
            part: np.ones_like(value) if ".2." in part else value for part, value in whole.items()
        }
        questions = questions_of(studied.base, studied.test_facts(name), "a [X] is a [Y] .", 3)
        ranks = questions.ranks(layers_under(studied.base, LAYERS, spared))
        values.append(mean_reciprocal_rank(ranks))
    assert rows["without layer 3"].mrr.estimate == pytest.approx(np.mean(values))
    lost = rows["masked"].mrr.estimate - rows["without layer 3"].mrr.estimate
    assert rows["without layer 3"].lost.estimate == pytest.approx(lost)


def test_the_same_mask_agrees_with_itself(studied: Studied, make_mask: MakeMask) -> None:
    others = {name: make_mask(name, seed=9) for name in ("A", "B")}
    same = measure_seeds(replace(studied, further_packs=[studied.masks]))
    for one in same.relations:
        assert (one.removed, one.same_answer) == (1.0, 1.0)
    different = measure_seeds(replace(studied, further_packs=[studied.masks, others]))
    assert different.pairs == 3
    for one in different.relations:
        # One pair of three is the same mask; the others agree by chance.
        by_chance = chance_overlap(studied.masks[one.relation], others[one.relation])
        assert one.removed == pytest.approx((1 + 2 * by_chance) / 3, abs=0.02)
    with pytest.raises(NotApplicableError, match="there is one pack"):
        measure_seeds(studied)


def test_what_only_the_mask_tells_apart_is_read_off_the_masked_states(studied: Studied) -> None:
    study = measure_embedding(studied)
    clouds = {cloud.condition: cloud for cloud in study.clouds}
    # Both relations ask the same facts in the same sentence, so that unmasked they are the same;
    # the split takes other facts of each, which a probe must not be able to use.
    assert clouds["own wordings, masked"].probe_accuracy > 0.95
    assert clouds["own wordings, unmasked"].probe_accuracy < 0.8
    assert clouds["own wordings, masked"].silhouette > clouds["own wordings, unmasked"].silhouette
    assert study.majority == pytest.approx(0.5, abs=0.15)
    assert all(len(cloud.points) == len(study.labels) for cloud in study.clouds)
    assert measure_embedding(studied) == study


def test_attention_is_the_hugging_face_models(
    base: plm.BaseModel, base_folder: Path, studied: Studied
) -> None:
    from transformers import BertForMaskedLM

    theirs = BertForMaskedLM.from_pretrained(base_folder, attn_implementation="eager").eval()
    prompt = plm.encode_prompt(base, plm.Template.parse("the big [X] is a [Y] ."), "red dog")
    weights = {
        name: base.weight(name) * torch.from_numpy(part)
        for name, part in multipliers_of(studied.masks["A"]).items()
    }
    with torch.no_grad():
        expected = torch.func.functional_call(
            theirs,
            weights,
            kwargs={"input_ids": torch.tensor([prompt.input_ids]), "output_attentions": True},
        )
    layers = layers_under(base, LAYERS, multipliers_of(studied.masks["A"]))
    ours, logits = attention_of(base, prompt, LAYERS[0], layers)
    for place, layer in enumerate(LAYERS):
        torch.testing.assert_close(
            ours[place],
            expected.attentions[layer - 1][0, :, prompt.mask_position],
            atol=1e-5,
            rtol=1e-4,
        )
    torch.testing.assert_close(
        logits, expected.logits[0, prompt.mask_position], atol=1e-4, rtol=1e-4
    )


def test_attention_moves_where_masks_do(studied: Studied) -> None:
    study = measure_attention(studied)
    assert [one.relation for one in study.examples] == ["A", "B"]
    for one in study.examples:
        assert "[MASK]" in one.tokens
        for row in (*one.masked, *one.unmasked):
            assert sum(row) == pytest.approx(1, abs=1e-5)
    assert all(0 < moved < 1 for moved in study.moved)


def test_a_mask_that_removes_nothing_moves_no_attention(
    base: plm.BaseModel, studied: Studied, make_mask: MakeMask
) -> None:
    keep = {name: np.ones(shape, dtype=bool) for name, shape in base.shapes(*LAYERS).items()}
    nothing = {name: make_mask(name, keep=keep) for name in ("A", "B")}
    study = measure_attention(replace(studied, masks=nothing))
    assert study.moved == pytest.approx((0.0, 0.0), abs=1e-6)


def test_starts_remove_what_they_say(base: plm.BaseModel) -> None:
    for share in SPARSITIES:
        config = starts()[f"{share:.0%}"]
        assert config.learning_rate == preset("paper").learning_rate
        scores = torch.randn(200_000, generator=torch.Generator().manual_seed(0))
        removed = (scores * config.score_deviation + config.score_mean < 0).float().mean()
        assert float(removed) == pytest.approx(share, abs=0.005)


def test_layers_are_learned_once_and_kept(
    studied: Studied, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = replace(studied, masks={"A": studied.masks["A"]})
    told: list[str] = []
    study = measure_layers(one, tmp_path, seeds=(0,), epochs=1, tell=told.append)
    assert len(study.cells) == len(starts()) * studied.base.layer_count
    cell = next(c for c in study.cells if (c.start, c.first_layer) == ("near-identity", 3))
    config = replace(starts(1)["near-identity"], first_layer=3)
    mask = learn_mask(
        studied.base, studied.split.of_relation("A"), studied.templates["A"], config, seed=0
    )
    assert cell.mrr == pytest.approx(mask.validation["mrr"])
    assert study.unmasked == pytest.approx(mask.validation["unmasked_mrr"])
    monkeypatch.setattr("training.study.layers.learn_masks", lambda *_, **__: pytest.fail("again"))
    assert measure_layers(one, tmp_path, seeds=(0,), epochs=1) == study
