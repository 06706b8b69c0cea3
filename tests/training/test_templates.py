"""Templates have one place for the subject and one for the object, or are refused by name."""

import json
import re
from pathlib import Path

import pytest

from training.data.errors import DataError
from training.data.templates import load_templates, select_templates

LAMA_CONCEPTNET = (
    "AtLocation CapableOf Causes CausesDesire Desires HasA HasPrerequisite HasProperty HasSubevent "
    "IsA MadeOf MotivatedByGoal NotDesires PartOf ReceivesAction UsedFor"
)
WIKIDATA = re.compile(r"P\d+")
LAMA_TREX = 41


def write(folder: Path, content: object) -> Path:
    path = folder / "templates.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_the_shipped_templates_cover_lama() -> None:
    shipped = load_templates()
    assert " ".join(name for name in shipped if not WIKIDATA.fullmatch(name)) == LAMA_CONCEPTNET
    assert sum(WIKIDATA.fullmatch(name) is not None for name in shipped) == LAMA_TREX
    for templates in shipped.values():
        assert 3 <= len(set(templates.training)) == len(templates.training) <= 6
        # The paper's protocol: what a mask learns from is worded differently from the test.
        assert templates.evaluation not in templates.training
        for text in (templates.evaluation, *templates.training):
            assert text.endswith(".")
            assert "  " not in text


def test_no_wording_serves_two_relations() -> None:
    said = [t for one in load_templates().values() for t in one.training]
    assert len(said) == len(set(said))


def test_a_file_like_ours(tmp_path: Path) -> None:
    path = write(tmp_path, {"SoldAt": {"evaluation": "[X] at [Y].", "training": ["[Y] has [X]."]}})
    (templates,) = load_templates(path).values()
    assert (templates.relation, templates.evaluation) == ("SoldAt", "[X] at [Y].")
    assert templates.training == ("[Y] has [X].",)


@pytest.mark.parametrize("name", ["relation", "pred"])
def test_json_lines(tmp_path: Path, name: str) -> None:
    records = [
        {name: "P19", "template": "[X] was born in [Y] .", "label": "place of birth"},
        {name: "SoldAt", "template": "[X] at [Y]."},
        {name: "SoldAt", "template": "[Y] has [X]."},
        {name: "SoldAt", "template": "[Y] sells [X]."},
    ]
    loaded = load_templates(write(tmp_path, "\n\n".join(map(json.dumps, records))))
    assert loaded["P19"].evaluation == "[X] was born in [Y] ."
    assert loaded["P19"].training == ("[X] was born in [Y] .",)
    assert loaded["SoldAt"].evaluation == "[X] at [Y]."
    assert loaded["SoldAt"].training == ("[Y] has [X].", "[Y] sells [X].")


GOOD = "[X] at [Y]."


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "is empty"),
        ("{", "invalid JSON"),
        ("[]", "no object of relations"),
        ("{}", "no object of relations"),
        ({"R": GOOD}, "relation R must have 'evaluation' and 'training'"),
        ({"R": {"evaluation": GOOD}}, "relation R must have"),
        ({"R": {"evaluation": GOOD, "training": [GOOD], "test": GOOD}}, "nothing else"),
        ({"R": {"evaluation": 1, "training": [GOOD]}}, "relation R: 'evaluation' must be"),
        ({"R": {"evaluation": GOOD, "training": GOOD}}, "relation R: 'training' must be a list"),
        ({"R": {"evaluation": GOOD, "training": [1]}}, "relation R: 'training' must be a list"),
        ({"R": {"evaluation": GOOD, "training": []}}, "relation R: give at least one"),
        ({"R": {"evaluation": "[X] is.", "training": [GOOD]}}, r"'\[X\] is\.' has \[Y\].*not at"),
        ({"R": {"evaluation": GOOD, "training": ["[Y] [Y] [X]"]}}, r"R.*has \[Y\].*2 times"),
        ({"R": {"evaluation": GOOD, "training": ["[x] at [Y]"]}}, r"has \[X\].*not at all"),
        ('{"R": {"evaluation": "", "evaluation": ""}}', "'evaluation' is there twice"),
        ({" ": {"evaluation": GOOD, "training": [GOOD]}}, "name is empty"),
        ('{"relation": "R", "template": "[X] at [Y]."}\n{"relation": "R"}', "line 2"),
        ('{"relation": "R", "template": "[X] at [Y]."}\nnonsense', "line 2: invalid JSON"),
        ('{"relation": "R", "template": "[X] at."}', r"relation R: .*\[Y\]"),
    ],
)
def test_bad_files_are_refused_by_name(tmp_path: Path, content: object, told: str) -> None:
    with pytest.raises(DataError, match=rf"(?s)^templates\.json.*{told}"):
        load_templates(write(tmp_path, content))


def test_a_relation_without_templates_is_told_how_to_write_them() -> None:
    shipped = load_templates()
    assert list(select_templates(shipped, ["UsedFor", "IsA", "IsA"])) == ["UsedFor", "IsA"]
    with pytest.raises(DataError, match='no templates for Sold"At, Eats') as error:
        select_templates(shipped, ["IsA", 'Sold"At', "Eats"])
    example = str(error.value).split(":\n", 1)[1]
    assert list(json.loads(example)) == ['Sold"At']


def test_the_example_is_a_file_that_can_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        select_templates({}, ["SoldAt"])
    loaded = load_templates(write(tmp_path, str(error.value).split(":\n", 1)[1]))
    assert list(loaded) == ["SoldAt"]
