"""The controls: the prior counts, random masks are exactly as sparse, no mask stays at home."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.data.errors import DataError
from training.data.triples import Triple
from training.evaluation.controls import (
    FrequencyPrior,
    mismatched_assignment,
    random_keep,
    shuffled,
)
from training.evaluation.metrics import hits_at_k
from training.evaluation.ranks import rank_targets

IDS = {"flax": 1, "wood": 3, "fly": 0}
FACTS = [
    Triple("linen", "MadeOf", "flax"),
    Triple("desk", "MadeOf", "wood"),
    Triple("door", "MadeOf", "wood"),
    Triple("bird", "CapableOf", "fly"),
]


def fitted() -> FrequencyPrior:
    return FrequencyPrior.fit(FACTS, token_id_of=IDS.__getitem__, vocabulary_size=5)


def test_the_prior_counts_training_objects() -> None:
    prior = fitted()
    assert prior.scores("MadeOf", rows=2).tolist() == [[0, 1, 0, 2, 0]] * 2
    assert prior.scores("CapableOf").tolist() == [[1, 0, 0, 0, 0]]


def test_the_prior_is_ranked_with_fair_ties() -> None:
    scores = fitted().scores("MadeOf", rows=3)
    ranks = rank_targets(scores, torch.tensor([3, 1, 4]))
    assert ranks.realistic.tolist() == [1.0, 2.0, 4.0]
    assert hits_at_k(ranks, 3).tolist() == [1, 1, pytest.approx(1 / 3)]


def test_the_prior_refuses() -> None:
    with pytest.raises(DataError, match=r"'IsA'.*CapableOf, MadeOf"):
        fitted().scores("IsA")
    with pytest.raises(DataError, match="needs training facts"):
        FrequencyPrior.fit([], token_id_of=IDS.__getitem__, vocabulary_size=5)
    with pytest.raises(ValueError, match="outside the vocabulary of 3"):
        FrequencyPrior.fit(FACTS, token_id_of=IDS.__getitem__, vocabulary_size=3)


@given(
    st.dictionaries(st.text("abc.", min_size=1), st.tuples(st.integers(1, 9), st.integers(1, 9))),
    st.floats(0, 1),
    st.integers(0, 2**32),
)
def test_random_masks_are_exactly_as_sparse_as_asked(
    shapes: dict[str, tuple[int, ...]], sparsity: float, seed: int
) -> None:
    keep = random_keep(shapes, sparsity, seed)
    assert {name: array.shape for name, array in keep.items()} == shapes
    for array in keep.values():
        assert array.dtype == np.bool_
        assert np.count_nonzero(~array) == round(sparsity * array.size)


def test_random_masks_depend_on_seed_and_name_alone() -> None:
    shapes = {"a": (30, 40), "b": (30, 40)}
    keep = random_keep(shapes, 0.5, seed=1)
    alone = random_keep({"b": (30, 40)}, {"b": 0.5}, seed=1)
    assert np.array_equal(keep["b"], alone["b"])
    assert not np.array_equal(keep["a"], keep["b"])
    assert not np.array_equal(keep["a"], random_keep(shapes, 0.5, seed=2)["a"])


def test_every_weight_is_dropped_about_equally_often() -> None:
    kept = sum(random_keep({"a": (4, 5)}, 0.5, seed)["a"].astype(int) for seed in range(2000))
    assert np.all(np.abs(np.asarray(kept) / 2000 - 0.5) < 0.06)  # 5 standard errors


def test_shuffled_values_are_the_same_at_other_places() -> None:
    part = np.arange(48, dtype=np.float32).reshape(6, 8) / 48
    mixed = shuffled({"a": part, "b": part}, seed=1)
    for name in ("a", "b"):
        assert mixed[name].shape == part.shape
        assert mixed[name].dtype == np.float32
        assert np.array_equal(np.sort(mixed[name], axis=None), part.reshape(-1))
        assert not np.array_equal(mixed[name], part)
    assert not np.array_equal(mixed["a"], mixed["b"])
    assert np.array_equal(shuffled({"b": part}, seed=1)["b"], mixed["b"])
    assert not np.array_equal(shuffled({"b": part}, seed=2)["b"], mixed["b"])


@pytest.mark.parametrize("sparsity", [-0.1, 1.1, float("nan")])
def test_a_sparsity_out_of_range_is_refused(sparsity: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        random_keep({"a": (2, 2)}, sparsity, seed=0)


def test_other_names_are_refused() -> None:
    with pytest.raises(ValueError, match="same matrices: a, b"):
        random_keep({"a": (2, 2)}, {"b": 0.5}, seed=0)


@pytest.mark.parametrize("count", [2, 3, 16])
def test_mismatches_over_all_shifts_meet_each_other_mask_once(count: int) -> None:
    relations = [f"R{i}" for i in range(count)]
    met: dict[str, list[str]] = {relation: [] for relation in relations}
    for shift in range(1, count):
        assignment = mismatched_assignment(relations, shift)
        assert sorted(assignment.values()) == sorted(relations)
        for relation, other in assignment.items():
            met[relation].append(other)
    for relation, others in met.items():
        assert sorted([relation, *others]) == sorted(relations)


@pytest.mark.parametrize(
    ("relations", "shift"), [(["a"], 1), (["a", "a"], 1), (["a", "b"], 0), (["a", "b"], 2)]
)
def test_an_assignment_that_is_no_mismatch_is_refused(relations: list[str], shift: int) -> None:
    with pytest.raises(ValueError, match=r"mismatched|shift"):
        mismatched_assignment(relations, shift)
