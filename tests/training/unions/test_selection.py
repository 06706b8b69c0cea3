"""The choice among unions, and what it is said to be worth."""

from collections.abc import Callable
from math import comb
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from training.data import DataError
from training.unions import (
    Outcomes,
    Record,
    Settings,
    Table,
    Union,
    choose,
    cross_validate,
    folds_of,
    greedy_path,
    unions_of,
)
from training.unions.run import Findings, Search, run_search

NAMES = tuple("ABCDEFGH")
COUNT = 100
SETTINGS = Settings("", "", "default", "default", {})


def noise(union: Union) -> NDArray[np.bool_]:
    """Right by a coin for each question, another one for each union."""
    seed = [ord(name) for name in union]
    return np.random.default_rng([len(union), *seed]).random(COUNT) < 0.5


def with_one_good(union: Union) -> NDArray[np.bool_]:
    right = noise(union)
    return right | (np.arange(COUNT) % 5 > 0) if union == ("B", "D", "E") else right


def table_of(outcomes: Outcomes, sizes: tuple[int, ...]) -> Table:
    unions = unions_of(NAMES, sizes)
    return Table.of(unions, {union: outcomes(union) for union in unions})


def validated(outcomes: Outcomes, table: Table) -> tuple[float, float]:
    """The best accuracy, and that of the choice cross-validated."""
    selection = cross_validate(
        lambda questions: choose(table, questions), outcomes, folds_of(COUNT, 5, 0), seed=0
    )
    return float(table.right.mean(axis=1).max()), selection.accuracy.estimate


def test_unions_of_all_sizes() -> None:
    unions = unions_of(NAMES, (3, 1, 3))
    assert len(unions) == len(set(unions)) == comb(8, 1) + comb(8, 3)
    assert unions[0] == ("A",)
    assert unions[8] == ("A", "B", "C")
    assert len(unions_of([str(n) for n in range(16)], (3, 4, 5))) == 6748


def test_the_best_of_noise_is_seen_to_be_noise() -> None:
    best, honest = validated(noise, table_of(noise, (1, 2, 3, 4, 5)))
    assert best >= 0.6
    # Coins come up right half the time; 0.05 is the standard deviation of 100 of them.
    assert abs(honest - 0.5) < 0.1
    assert best - honest > 0.04


def test_a_union_that_is_good_is_found_and_believed() -> None:
    table = table_of(with_one_good, (1, 2, 3))
    assert choose(table) == table.ranked()[0] == ("B", "D", "E")
    selection = cross_validate(
        lambda questions: choose(table, questions), with_one_good, folds_of(COUNT, 5, 3), seed=0
    )
    assert selection.chosen == (("B", "D", "E"),) * 5
    assert selection.accuracy.estimate == with_one_good(("B", "D", "E")).mean()
    assert selection.accuracy.low < selection.accuracy.estimate < selection.accuracy.high
    expected = selection.accuracy.estimate - noise(()).mean()
    assert selection.gain.estimate == pytest.approx(expected)
    assert selection.gain.low > 0


def test_a_fold_has_no_say_in_what_it_is_judged_by() -> None:
    table = table_of(noise, (1, 2))
    folds = folds_of(COUNT, 4, 1)
    first = cross_validate(lambda asked: choose(table, asked), noise, folds, seed=0)
    for number, fold in enumerate(folds):
        right = table.right.copy()
        right[:, fold] = np.random.default_rng(number).random((len(right), len(fold))) < 0.5
        changed = Table(table.unions, right)
        again = cross_validate(
            lambda asked, changed=changed: choose(changed, asked), noise, folds, seed=0
        )
        assert again.chosen[number] == first.chosen[number]


def test_of_equals_the_smaller_is_taken() -> None:
    same = table_of(lambda union: np.ones(4, np.bool_), (1, 2, 3))
    assert choose(same) == same.ranked()[0] == ("A",)


@pytest.mark.parametrize(("questions", "folds"), [(10, 5), (11, 3), (7, 7)])
def test_every_question_is_in_one_fold(questions: int, folds: int) -> None:
    parts = folds_of(questions, folds, 0)
    assert sorted(np.concatenate(parts).tolist()) == list(range(questions))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert [part.tolist() for part in parts] != [
        part.tolist() for part in folds_of(questions, folds, 1)
    ]


@pytest.mark.parametrize(
    ("questions", "folds", "message"),
    [(4, 5, "5 folds need 5 questions at least, not 4"), (4, 1, "two folds or more, not 1")],
)
def test_folds_that_cannot_be(questions: int, folds: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        folds_of(questions, folds, 0)


def additive(union: Union) -> NDArray[np.bool_]:
    """Each relation brings rights of its own: A 1, B 2, ... H 8."""
    ends = np.cumsum(np.arange(1, 9))
    right = np.zeros(36, np.bool_)
    for name in union:
        end = ends[NAMES.index(name)]
        right[end - NAMES.index(name) - 1 : end] = True
    return right


def test_forward_selection_takes_what_helps_most_and_tries_few() -> None:
    tried: set[Union] = set()

    def counted(union: Union) -> NDArray[np.bool_]:
        tried.add(union)
        return additive(union)

    path = greedy_path(NAMES, 3, counted)
    assert path == [("H",), ("G", "H"), ("F", "G", "H")]
    assert len(tried) == 8 + 7 + 6
    # Only the questions that A and B answer count.
    assert greedy_path(NAMES, 2, additive, np.array([0, 1, 2])) == [("B",), ("A", "B")]
    assert len(greedy_path(NAMES, 20, additive)) == 8


def searched(
    folder: Path, outcomes: Outcomes, sizes: tuple[int, ...], *, exhaustive: bool
) -> tuple[Findings, list[Union], list[tuple[int, int]]]:
    asked: list[Union] = []
    told: list[tuple[int, int]] = []

    def best(union: Union) -> NDArray[np.int64]:
        asked.append(union)
        # The right choice is 1 everywhere.
        return outcomes(union).astype(np.int64)

    count = len(outcomes(()))
    with Record(folder, SETTINGS, [1] * count) as record:
        search = Search(best, record, lambda done, expected: told.append((done, expected)))
        findings = run_search(
            search, NAMES, sizes, folds_of(count, 4, 0), seed=0, exhaustive=exhaustive
        )
    return findings, asked, told


def test_a_whole_search_and_going_on_with_it(tmp_path: Path) -> None:
    findings, asked, told = searched(tmp_path, additive, (3,), exhaustive=True)
    assert findings.exhaustive is not None
    assert findings.best.union == findings.exhaustive.union == ("F", "G", "H")
    assert findings.same
    assert findings.unmasked.estimate == 0
    assert findings.best.accuracy == 21 / 36
    assert asked[:9] == [(), *((name,) for name in NAMES)]
    assert len(asked) == len(set(asked)) >= 1 + 8 + 56
    assert told[0] == (0, 65)
    assert told[-1] == (len(asked), len(asked))
    again, asked, _ = searched(tmp_path, additive, (3,), exhaustive=True)
    assert asked == []
    assert again.best.selection == findings.best.selection
    # Other sizes go on in the same folder.
    _, asked, _ = searched(tmp_path, additive, (1, 2, 3), exhaustive=True)
    assert asked
    assert all(len(union) == 2 for union in asked)


def test_forward_selection_alone(tmp_path: Path) -> None:
    findings, asked, _ = searched(tmp_path, additive, (2, 3), exhaustive=False)
    assert findings.exhaustive is None
    assert findings.best is findings.greedy
    assert findings.best.union == ("F", "G", "H")
    assert not findings.same
    assert len(asked) < 1 + 8 + 28 + 56


def test_an_interruption_loses_one_union(tmp_path: Path) -> None:
    def interrupted(after: int) -> Callable[[Union], NDArray[np.bool_]]:
        left = iter(range(after))

        def outcome(union: Union) -> NDArray[np.bool_]:
            if next(left, None) is None:
                raise KeyboardInterrupt
            return additive(union)

        return outcome

    with pytest.raises(KeyboardInterrupt):
        searched(tmp_path, interrupted(1 + 20), (2,), exhaustive=True)  # one is to count questions
    findings, asked, _ = searched(tmp_path, additive, (2,), exhaustive=True)
    assert len(asked) == 1 + 8 + 28 - 20
    assert findings.best.union == ("G", "H")
