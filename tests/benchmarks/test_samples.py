import pytest

from benchmarks.questions import SUBJECT_COUNT, Questioner, subjects
from benchmarks.samples import Samples


def test_a_ratio_is_taken_block_by_block() -> None:
    ours = Samples([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]])
    peer = Samples([[4.0, 4.0, 4.0], [40.0, 40.0, 40.0]])
    ratio = ours.ratio_to(peer)
    assert (ratio.median, ratio.low, ratio.high) == (0.5, 0.5, 0.5)


def test_the_median_is_of_all_calls_and_its_spread_of_the_blocks() -> None:
    samples = Samples([[1.0, 1.0, 1.0], [2.0, 2.0], [9.0]])
    assert samples.count == 6
    assert (samples.median.median, samples.median.low, samples.median.high) == (1.5, 1.0, 9.0)


def test_cases_with_other_blocks_are_not_compared() -> None:
    with pytest.raises(ValueError, match="zip"):
        Samples([[1.0]]).ratio_to(Samples([[1.0], [1.0]]))


def test_no_subject_comes_twice() -> None:
    assert len(set(subjects())) == SUBJECT_COUNT


def test_questions_take_the_relations_in_turns_or_stay_with_the_first() -> None:
    questioner = Questioner({"IsA": "A [X] is a [Y].", "HasA": "A [X] has a [Y]."}, "<mask>")
    about = questioner.take(3)
    rotating = questioner.ask(about, rotating=True)
    assert [question.relation for question in rotating] == ["IsA", "HasA", "IsA"]
    assert rotating[1].prompt == f"A {about[1]} has a <mask>."
    assert {question.relation for question in questioner.ask(about, rotating=False)} == {"IsA"}
    assert not set(about) & set(questioner.take(3))
