"""A format in doubt is refused with what to pass, never guessed."""

import pytest

from training.data.detect import detect_format
from training.data.errors import DataError


@pytest.mark.parametrize(
    ("text", "told"),
    [
        # Nothing says which column is the relation.
        ("capital_of\tparis\tfrance", "format='tsv'.*format='conceptnet-100k'.*header"),
        ("capital_of\tparis\tfrance\ncapital_of\trome\titaly", "format='conceptnet-100k'"),
        ("capital_of,paris,france\ncapital_of,rome,italy", "format='csv'.*header"),
        ("IsA,dog,animal", "format='csv'"),
        # ConceptNet's names in both columns.
        ("IsA\tIsA\tanimal\nIsA\tdog\tanimal", "format='tsv'"),
        # Two separators.
        ("a,b\tc,d\te,f", "format='tsv' or format='csv'"),
        # Headers that lack a field or name it twice.
        ("subject,object,weight\nparis,france,1", "does not name"),
        ("subject\thead\trelation\tobject\na\tb\tc\td", "does not name"),
        ("head\trelation\tkind\na\tb\tc", "does not name"),
        # Columns without a header that are not three.
        ("a\tb\tc\td\te", "5 columns and no header"),
        # JSON that is not JSON lines, or of two kinds.
        ('[{"subject": "a"}]', "JSON array"),
        ("[\n{}", "JSON array"),
        ('{\n  "subject": "a"\n}', "one complete object on each line"),
        ('{"text": "a"}', "one complete object on each line"),
        (
            '{"subject": "a", "relation": "b", "object": "c"}\n'
            '{"sub_label": "a", "obj_label": "b"}',
            "format='lama' or format='jsonl'",
        ),
        ("one column\nonly", "neither three columns"),
        ("a;b;c\n", "neither three columns"),
    ],
)
def test_doubt_is_refused(text: str, told: str) -> None:
    with pytest.raises(DataError, match=rf"(?s)^facts: .*{told}"):
        detect_format(text.split("\n"), "facts")


@pytest.mark.parametrize(
    ("text", "format_"),
    [
        ("paris\tcapital_of\tfrance\nrome\tcapital_of\titaly", "tsv"),
        ("paris,capital_of,france\nrome,capital_of,italy", "csv"),
        ("dog\tIsA\tanimal", "tsv"),
        ("dog,IsA,animal", "csv"),
        ("isa\tdog\tanimal", "conceptnet-100k"),
        ("# note\ndog\tIsA\tanimal", "tsv"),
        # A header settles what the separators leave open.
        ("subject\trelation\tobject\nsalt, pepper, oil\tIsA\tthings", "tsv"),
        ("\n".join(["dog\tIsA\tanimal"] * 20 + ["a, b, c\tIsA\tlist"]), "tsv"),
        # A word of the header's kind among the facts is not a header.
        ("coin\tHasA\thead\ndog\tHasA\ttail", "tsv"),
        ('{"sub": "1", "obj": "2", "pred": "IsA"}', "jsonl"),
    ],
)
def test_what_is_clear_is_told(text: str, format_: str) -> None:
    assert detect_format(text.split("\n"), "facts") == format_
