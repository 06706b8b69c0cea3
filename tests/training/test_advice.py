"""What is said of facts before anything is learned from them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import plm
from training.advice import (
    Check,
    check_facts,
    check_markdown,
    findings_of,
    objects_outside,
)
from training.data import RelationTemplates, Triple
from training.facts import read_files, usable_facts
from training.naming import unfit_names

CheckRows = Callable[[Sequence[str]], Check]


@pytest.fixture
def check(
    base: plm.BaseModel, tmp_path: Path, templates: dict[str, RelationTemplates]
) -> CheckRows:
    def checked(rows: Sequence[str]) -> Check:
        path = tmp_path / "facts.csv"
        path.write_text("\n".join(["subject,relation,object", *rows]) + "\n", encoding="utf-8")
        return check_facts(base, read_files([path]), templates)

    return checked


def titles(found: Check, *, problem: bool) -> list[str]:
    return [finding.title for finding in found.findings if finding.problem is problem]


SOUND = [
    f"{look}{word},IsA,{kind}"
    for look in ("", "big ", "small ", "red ")
    for word, kind in [("dog", "animal"), ("cat", "animal"), ("saw", "tool"), ("axe", "tool")]
]


def test_nothing_is_wrong_with_sound_facts(check: CheckRows) -> None:
    found = check(SOUND)
    assert found.sound
    assert titles(found, problem=False) == ["1 relation with fewer than 20 test facts"]
    (relation,) = found.relations
    assert (relation.facts, relation.usable, relation.parts) == (16, 16, (11, 3, 2))
    assert (relation.objects, relation.commonest, relation.origin) == (
        2,
        ("animal", 0.5),
        "given",
    )
    assert {one.text for one in relation.ranked} == {
        "a [X] is a [Y] .",
        "the [X] is one [Y] .",
        "[X] is a [Y] .",
    }
    assert "No problem was found." in check_markdown(found)


@pytest.mark.parametrize(
    ("rows", "title", "example"),
    [
        (["dog,IsA"], "1 line that holds no fact", "line 18: 2 columns"),
        (["dog,IsA,animals thing"], "1 object that is not one token of the base", "try thing"),
        (["big tool,IsA,tool"], "1 fact whose object stands in its own subject", "<big tool,"),
        (["dog,lives in,barn"] * 4, "1 relation that names no mask", "try 'lives_in'"),
        (
            ["dog,AtLocation,barn"],
            "1 relation with fewer than 3 usable facts",
            "AtLocation: 1",
        ),
        (
            ["dog " * 40 + ",IsA,animal"],
            "1 fact whose sentence the base cannot read",
            "reads at most 40",
        ),
    ],
)
def test_problems_are_named_with_an_example(
    check: CheckRows, rows: list[str], title: str, example: str
) -> None:
    found = check([*SOUND, *rows])
    assert not found.sound
    (finding,) = [finding for finding in found.findings if finding.title == title]
    assert finding.problem
    assert any(example in text for text in finding.examples)
    text = check_markdown(found)
    assert f"### {title}" in text
    assert finding.advice in text


def test_twins_across_the_split_are_a_leak_and_elsewhere_a_note(check: CheckRows) -> None:
    twins = [row.replace(",IsA", "s,IsA", 1) for row in SOUND]
    found = check([*SOUND, *twins])
    (leak,) = [finding for finding in found.findings if "resemble" in finding.title]
    assert leak.problem
    assert leak.title == f"held-out {leak.count} facts that resemble a training fact"
    for example in leak.examples:
        assert "(train)" in example
        assert "(test)" in example or "(validation)" in example
    groups = "16 groups of facts that differ by an article or a plural only"
    assert groups in titles(found, problem=False)


def test_two_relations_of_one_pair_and_repeated_lines_are_notes(check: CheckRows) -> None:
    rows = [f"{word},AtLocation,barn" for word in ("cow", "pig", "hen")]
    found = check([*SOUND, *rows, "cow,IsA,barn", "dog,IsA,animal", "Dog,IsA,animal"])
    notes = {finding.title: finding for finding in found.findings if not finding.problem}
    pair = notes["1 pair of subject and object under two relations or more"]
    assert pair.examples == ("cow, barn: AtLocation, IsA",)
    assert notes["2 lines that repeat a fact"].count == 2


def test_a_fact_in_two_files_is_repeated(
    base: plm.BaseModel, tmp_path: Path, templates: dict[str, RelationTemplates]
) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("subject,relation,object\n" + "\n".join(SOUND) + "\n")
    files = read_files([tmp_path / "a.csv", tmp_path / "b.csv"])
    facts = usable_facts(base, files, templates)
    found = {finding.title: finding for finding in findings_of(base, files, facts)}
    assert found["16 lines that repeat a fact"].examples[0] == "<dog, IsA, animal> is in two files"


def test_the_report_shows_some_examples_and_counts_the_others(check: CheckRows) -> None:
    found = check([*SOUND, *(f"dog,IsA,starship{number}" for number in range(9))])
    text = check_markdown(found, examples=2)
    assert "9 objects that are not one token of the base" in text
    assert "- and 7 more" in text


def test_nothing_usable_is_a_finding_and_no_error(check: CheckRows) -> None:
    found = check(["dog,IsA,starship", "cat,IsA,spaceship", "cow,Eats,spinach"])
    assert not found.sound
    assert [one.usable for one in found.relations] == [0, 0]
    assert [one.ranked for one in found.relations] == [(), ()]
    assert "IsA: 0" in check_markdown(found)


def test_suggestions_are_other_spellings_first(base: plm.BaseModel) -> None:
    triples = [
        Triple("dog", "IsA", "Animals"),  # [animal, ##s]
        Triple("cat", "IsA", "Animals"),
        Triple("saw", "IsA", "small tool"),
        Triple("bee", "IsA", "zeppelin"),
        Triple("cow", "IsA", "animal"),
    ]
    animals, zeppelin, tool = sorted(
        objects_outside(base, triples), key=lambda item: (-item.facts, item.object != "zeppelin")
    )
    assert (animals.object, animals.facts) == ("Animals", 2)
    assert animals.pieces == ("animal", "##s")
    assert animals.suggestions[0].lower() == "animal"
    assert tool.pieces == ("small", "tool")
    assert tool.suggestions[0] == "tool"
    assert "small" not in tool.suggestions
    assert (zeppelin.pieces, zeppelin.suggestions) == ((), ())
    for item in (animals, tool):
        tokens = [plm.object_token_id(base, word) for word in item.suggestions]
        assert len(set(tokens)) == len(tokens) <= 3


@pytest.mark.parametrize(
    ("names", "unfit"),
    [
        (["IsA", "Part_of", "a.b-c"], []),
        (["stored in"], [("stored in", "stored_in")]),
        (["_x", "9th", "über"], [("9th", "r_9th"), ("_x", "x"), ("über", "ber")]),
        (["IsA", "isa"], [("isa", "IsA")]),
        (["?"], [("?", "r")]),
    ],
)
def test_names_that_fit_no_mask(names: list[str], unfit: list[tuple[str, str]]) -> None:
    assert [(one.relation, one.suggestion) for one in unfit_names(names)] == unfit
