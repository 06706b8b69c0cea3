"""Learning that is ended goes on from its checkpoint, and makes the same bits."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import plm
from masks import MaskPack
from training.data import RelationTemplates, Triple, split_by_fact
from training.facts import read_facts
from training.learning import (
    Checkpoint,
    LearnConfig,
    LearnedMask,
    LearnProgress,
    Reminders,
    learn_masks,
    reminders_of,
)
from training.plan import Plan
from training.run import CHECKPOINT, PACK, Event, train

CONFIG = LearnConfig(learning_rate=3e-3, epochs=6, batch_size=4, patience=0)
SENTENCES = ["you can find a small dog in the garden", "the red hammer and the saw are tools"]


class KilledError(Exception):
    """Stands for SIGKILL: nothing after it runs."""


def learn(
    base: plm.BaseModel,
    triples: Sequence[Triple],
    templates: dict[str, RelationTemplates],
    config: LearnConfig,
    *,
    checkpoint: Checkpoint | None = None,
    kill_at: int | None = None,
) -> list[LearnedMask]:
    split = split_by_fact(triples, seed=0)
    relations = [(split.of_relation(name), templates[name]) for name in ("IsA", "AtLocation")]
    reminders = None
    if config.remember:
        prompts = reminders_of(base, SENTENCES, count=2, seed=0)
        reminders = Reminders(base, prompts, 3)

    def report(_: int, progress: LearnProgress) -> None:
        if progress.step == kill_at:
            raise KilledError

    return learn_masks(
        base,
        relations,
        config,
        seed=0,
        reminders=reminders,
        checkpoint=checkpoint,
        report=report,
    )


def bits_of(masks: Sequence[LearnedMask]) -> list[Any]:
    return [
        (
            mask.step,
            mask.steps,
            mask.validation,
            np.concatenate([*map(np.ravel, mask.multipliers.values())]),
        )
        for mask in masks
    ]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"method": "stochastic", "score_mean": 0.5, "learning_rate": 0.05},
        {"method": "stochastic", "score_mean": 0.5, "learning_rate": 0.05, "export": "expectation"},
        {"method": "top-k"},
        {"remember": 0.5, "wordings": 2, "schedule": "cosine"},
    ],
    ids=["deterministic", "stochastic", "expectation", "top-k", "remember"],
)
def test_killed_and_gone_on_with_the_bits_are_the_same(
    base: plm.BaseModel,
    triples: tuple[Triple, ...],
    templates: dict[str, RelationTemplates],
    tmp_path: Path,
    settings: dict[str, Any],
) -> None:
    config = replace(CONFIG, **settings)
    whole = bits_of(learn(base, triples, templates, config))
    path = tmp_path / "learning.pt"
    with pytest.raises(KilledError):
        learn(
            base, triples, templates, config, checkpoint=Checkpoint(path, "a", seconds=0), kill_at=7
        )
    stored = torch.load(path, weights_only=True)["state"]
    assert 0 < stored[0]["step"] < 7
    resumed = bits_of(
        learn(base, triples, templates, config, checkpoint=Checkpoint(path, "a", seconds=0))
    )
    for (*ours, bits), (*theirs, expected) in zip(resumed, whole, strict=True):
        assert ours == theirs
        assert np.array_equal(bits, expected)


def test_what_is_learned_already_is_not_learned_again(
    base: plm.BaseModel,
    triples: tuple[Triple, ...],
    templates: dict[str, RelationTemplates],
    tmp_path: Path,
) -> None:
    path = tmp_path / "learning.pt"
    whole = learn(base, triples, templates, CONFIG, checkpoint=Checkpoint(path, "a"))
    again = learn(base, triples, templates, CONFIG, checkpoint=Checkpoint(path, "a"), kill_at=1)
    for ours, theirs in zip(bits_of(again), bits_of(whole), strict=True):
        assert np.array_equal(ours[-1], theirs[-1])


def test_the_state_of_other_learning_is_not_taken_up(tmp_path: Path) -> None:
    path = tmp_path / "learning.pt"
    assert Checkpoint(path, "a").load() is None
    Checkpoint(path, "a").save([1, 2])
    assert Checkpoint(path, "a").load() == [1, 2]
    assert Checkpoint(path, "b").load() is None
    Checkpoint(path, "a").remove()
    assert Checkpoint(path, "a").load() is None


def test_killed_while_writing_the_state_before_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = Checkpoint(tmp_path / "learning.pt", "a")
    checkpoint.save([1])

    def half(_: object, path: Path) -> None:
        path.write_bytes(os.urandom(100))
        raise KilledError

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(KilledError):
        checkpoint.save([2])
    assert checkpoint.load() == [1]


def test_a_damaged_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "learning.pt"
    path.write_bytes(b"no checkpoint")
    with pytest.raises(ValueError, match=r"learning\.pt is not readable .*; remove it"):
        Checkpoint(path, "a").load()


def test_a_run_killed_in_the_middle_of_a_relation_ends_with_the_same_pack(
    base: plm.BaseModel,
    triples: tuple[Triple, ...],
    templates: dict[str, RelationTemplates],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "facts.tsv"
    rows = [f"{fact.subject}\t{fact.relation}\t{fact.object}\n" for fact in triples]
    path.write_text("subject\trelation\tobject\n" + "".join(rows))
    plan = Plan(read_facts(base, [path], templates), None, templates, CONFIG, 0, "tiny", 2)
    train(base, plan, tmp_path / "whole")
    assert not (tmp_path / "whole" / CHECKPOINT.format(0)).exists()

    def kill(event: Event) -> None:
        if event.progress is not None and event.progress.step > 8:
            raise KilledError

    monkeypatch.setattr(Checkpoint, "due", True)
    with pytest.raises(KilledError):
        train(base, plan, tmp_path / "run", tell=kill)
    assert (tmp_path / "run" / CHECKPOINT.format(0)).exists()
    train(base, plan, tmp_path / "run")
    assert not (tmp_path / "run" / CHECKPOINT.format(0)).exists()
    for name in ("IsA", "AtLocation"):
        ours, theirs = (MaskPack.open(tmp_path / run / PACK).load(name) for run in ("run", "whole"))
        assert ours == theirs
        assert ours.digest == theirs.digest
