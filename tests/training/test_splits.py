"""No fact stands in two splits; a split depends on the facts and the seed alone."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.errors import DataError
from training.data.readers import read_triples
from training.data.splits import Split, load_split, save_split, split_by_fact
from training.data.triples import Triple

WORDS = st.sampled_from(["a", "A", " a ", "b", "B", "c", "ß", "SS", "é", "e\u0301", "d e", "d  E"])


@st.composite
def facts(draw: st.DrawFn) -> list[Triple]:
    """Facts of two relations, at least three distinct ones each, with repeats and respellings."""
    base = [Triple(f"s{i}", relation, "o") for relation in ("IsA", "HasA") for i in range(3)]
    more = draw(st.lists(st.builds(Triple, WORDS, st.sampled_from(["IsA", "HasA"]), WORDS)))
    return draw(st.permutations(base + more))


def keys(triples: tuple[Triple, ...]) -> set[tuple[str, str, str]]:
    return {triple.key for triple in triples}


@given(facts(), st.integers(-(2**40), 2**40), st.tuples(*[st.integers(1, 9)] * 3))
def test_the_splits_share_no_fact_and_lose_none(
    triples: list[Triple], seed: int, shares: tuple[int, int, int]
) -> None:
    split = split_by_fact(triples, seed=seed, shares=shares)
    parts = [keys(part) for _, part in split.parts()]
    assert set().union(*parts) == {triple.key for triple in triples}
    assert sum(map(len, parts)) == len(set().union(*parts))
    for relation in ("IsA", "HasA"):
        assert all(len(part) >= 1 for _, part in split.of_relation(relation).parts())


@given(facts(), st.integers(0, 100), st.randoms())
def test_order_and_repetition_do_not_matter(
    triples: list[Triple], seed: int, shuffler: random.Random
) -> None:
    again = triples + triples[:2]
    shuffler.shuffle(again)
    split = split_by_fact(triples, seed=seed)
    assert split_by_fact(again, seed=seed) == split
    assert split_by_fact(again, seed=seed).digest == split.digest


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(3, [1, 1, 1]), (4, [2, 1, 1]), (9, [6, 2, 1]), (10, [7, 2, 1]), (1000, [700, 200, 100])],
)
def test_the_shares(count: int, sizes: list[int]) -> None:
    split = split_by_fact([Triple(f"s{i}", "IsA", "o") for i in range(count)], seed=1)
    assert [len(part) for _, part in split.parts()] == sizes


def test_the_seed_matters_and_a_new_relation_moves_nothing() -> None:
    one = [Triple(f"s{i}", "IsA", "o") for i in range(50)]
    two = [Triple(f"s{i}", "HasA", "o") for i in range(50)]
    assert split_by_fact(one, seed=1).test != split_by_fact(one, seed=2).test
    assert split_by_fact(one + two, seed=1).of_relation("IsA") == split_by_fact(one, seed=1)


def test_too_few_facts_name_the_relation_and_the_minimum() -> None:
    few = [Triple("a", "IsA", "b"), Triple("A", "IsA", "B"), Triple("c", "IsA", "d")]
    with pytest.raises(DataError, match="relation IsA has 2 distinct facts; 3 are the least"):
        split_by_fact(few, seed=0)


def test_two_spellings_of_a_relation_are_refused() -> None:
    mixed = [Triple(str(i), "IsA" if i else "isa", "b") for i in range(9)]
    with pytest.raises(DataError, match="several ways: IsA, isa"):
        split_by_fact(mixed, seed=0)


@pytest.mark.parametrize("shares", [(7, 2, 0), (7, -1, 1)])
def test_shares_below_one_are_refused(shares: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="share"):
        split_by_fact([], seed=0, shares=shares)


def test_a_fact_in_two_splits_cannot_be_made() -> None:
    with pytest.raises(DataError, match=r"in train and in test"):
        Split((Triple("a", "IsA", "b"),), (), (Triple("A", "IsA", "b"),))


@given(facts())
def test_saved_and_loaded(tmp_path_factory: pytest.TempPathFactory, triples: list[Triple]) -> None:
    path = tmp_path_factory.getbasetemp() / "split.jsonl"
    # What readers hand over is whitespace-folded.
    split = split_by_fact(
        [
            Triple(*(" ".join(x.split()) for x in (t.subject, t.relation, t.object)))
            for t in triples
        ],
        seed=3,
    )
    save_split(split, path)
    loaded = load_split(path)
    assert loaded == split
    assert loaded.digest == split.digest
    assert keys(read_triples(path).triples) == set().union(*(keys(p) for _, p in split.parts()))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "line 2: invalid JSON"),
        ('{"subject": "a", "relation": "b", "object": "c"}', "line 2: 'split' must be one of"),
        ('{"split": [], "subject": "a", "relation": "b", "object": "c"}', "'split' must be one"),
        ('{"split": "test", "subject": "a", "relation": "b"}', "'object' is missing"),
        ('{"split": "test", "subject": "X", "relation": "b", "object": "c"}', "in train and in"),
        ('{"split": "test", "subject": "\udce9", "relation": "b", "object": "c"}', "UTF-8"),
    ],
)
def test_a_saved_split_with_a_bad_line_is_refused(tmp_path: Path, line: str, told: str) -> None:
    path = tmp_path / "split.jsonl"
    text = f'{{"split": "train", "subject": "x", "relation": "b", "object": "c"}}\n{line}\n'
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=told):
        load_split(path)


def test_the_digest_sees_spelling_and_place() -> None:
    a, b = Triple("a", "IsA", "b"), Triple("c", "IsA", "d")
    digests = {
        Split((a,), (b,), ()).digest,
        Split((b,), (a,), ()).digest,
        Split((Triple("A", "IsA", "b"),), (b,), ()).digest,
    }
    assert len(digests) == 3
