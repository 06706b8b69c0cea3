"""Text whose answers a mask is to leave as they are."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import plm
from training.data import DataError, RelationTemplates, Triple, split_by_fact
from training.learning import LearnConfig, Reminders, layers_under, learn_masks, reminders_of
from training.learning.reminders import reminders_a_step
from training.learning.scoring import logits_by_pass
from training.remember import read_remembered

SENTENCES = [
    "you can find a small dog in the garden .",
    "the red hammer and the saw are in the shed .",
    "a horse is a big animal and they have one .",
    "some small thing was in the house .",
]


@pytest.fixture(scope="module")
def prompts(base: plm.BaseModel) -> list[plm.EncodedPrompt]:
    return reminders_of(base, SENTENCES * 10, count=30, seed=0)


def test_each_sentence_has_one_token_masked(
    base: plm.BaseModel, prompts: list[plm.EncodedPrompt]
) -> None:
    assert len(prompts) == 30
    for prompt in prompts:
        assert prompt.input_ids.count(base.mask_token_id) == 1
        assert prompt.input_ids[prompt.mask_position] == base.mask_token_id
        assert 0 < prompt.mask_position < len(prompt.input_ids) - 1
    assert len({prompt.input_ids for prompt in prompts}) > len(SENTENCES)
    assert reminders_of(base, SENTENCES * 10, count=30, seed=0) == prompts
    assert reminders_of(base, SENTENCES * 10, count=30, seed=1) != prompts


def test_short_and_masked_sentences_are_passed_over(base: plm.BaseModel) -> None:
    sentences = ["dog", "", "the dog is a [MASK] animal", "the dog " * 60, SENTENCES[0]]
    (prompt,) = reminders_of(base, sentences, count=9, seed=0)
    assert prompt.text == SENTENCES[0]


def test_the_unmasked_model_diverges_by_nothing(
    base: plm.BaseModel, prompts: list[plm.EncodedPrompt]
) -> None:
    reminders = Reminders(base, prompts, 3)
    indices, logits = next(logits_by_pass(base, reminders._states, base.layers[2:]))
    assert float(reminders.divergence(logits, indices)) == pytest.approx(0, abs=1e-5)


def test_the_divergence_is_kullback_and_leiblers(
    base: plm.BaseModel, prompts: list[plm.EncodedPrompt]
) -> None:
    # Of a vocabulary this small nearly all words are looked at one by one.
    reminders = Reminders(base, prompts[:8], 3)
    indices, logits = next(logits_by_pass(base, reminders._states, base.layers[2:]))
    other = logits + torch.randn(logits.shape, generator=torch.Generator().manual_seed(0))
    theirs = logits.softmax(dim=1)
    exact = (theirs * (theirs.log() - other.log_softmax(dim=1))).sum(dim=1).mean()
    assert float(reminders.divergence(other, indices)) == pytest.approx(float(exact), rel=0.02)
    assert float(reminders.divergence(other, indices)) <= float(exact) + 1e-6


def test_a_mask_that_remembers_diverges_less(
    base: plm.BaseModel,
    prompts: list[plm.EncodedPrompt],
    triples: tuple[Triple, ...],
    templates: dict[str, RelationTemplates],
) -> None:
    split = split_by_fact(triples, seed=0).of_relation("IsA")
    reminders = Reminders(base, prompts, 3)
    config = LearnConfig(learning_rate=3e-3, epochs=20, batch_size=4, patience=0)
    divergences = []
    for weight in (0.0, 5.0):
        (mask,) = learn_masks(
            base,
            [(split, templates["IsA"])],
            replace(config, remember=weight),
            seed=0,
            reminders=reminders,
        )
        layers = layers_under(base, mask.layers, mask.keep)
        indices, logits = next(logits_by_pass(base, reminders._states, layers))
        divergences.append(float(reminders.divergence(logits, indices)))
        assert mask.validation["mrr"] > mask.validation["unmasked_mrr"]
    assert divergences[1] < 0.8 * divergences[0]


def test_to_remember_takes_text(
    base: plm.BaseModel, triples: tuple[Triple, ...], templates: dict[str, RelationTemplates]
) -> None:
    split = split_by_fact(triples, seed=0).of_relation("IsA")
    with pytest.raises(ValueError, match="text to remember"):
        learn_masks(base, [(split, templates["IsA"])], LearnConfig(remember=1.0), seed=0)
    with pytest.raises(ValueError, match="no sentence"):
        Reminders(base, [], 3)


def test_text_is_read_from_a_file_or_a_folder(base: plm.BaseModel, tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text("\n".join(SENTENCES) + "\n\n")
    ours = read_remembered(base, file, seed=0)
    assert [prompt.text for prompt in ours.prompts] == SENTENCES
    assert read_remembered(base, tmp_path, seed=0) == ours
    file.write_text("dog\n")
    with pytest.raises(DataError, match="holds no sentence of 3 to 62 tokens"):
        read_remembered(base, tmp_path, seed=0)
    with pytest.raises(DataError, match="is not there"):
        read_remembered(base, tmp_path / "nowhere", seed=0)
    (tmp_path / "text.txt.xz").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"text\.txt\.xz cannot be read as text"):
        read_remembered(base, tmp_path, seed=0)


def test_a_quarter_as_many_sentences_as_facts_go_into_a_step() -> None:
    assert [reminders_a_step(size) for size in (1, 4, 5, 32)] == [1, 1, 2, 8]
