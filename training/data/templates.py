"""Cloze templates of relations: `[X]` stands for the subject, `[Y]` for the object."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.data.errors import DataError
from training.data.json_lines import json_object
from training.data.rows import RowError, is_unicode
from training.data.source import read_source

SUBJECT_SLOT = "[X]"
OBJECT_SLOT = "[Y]"

_SHIPPED = tuple(
    Path(__file__).with_name(name)
    for name in ("conceptnet_templates.json", "wikidata_templates.json")
)
_FIELDS = frozenset({"evaluation", "training"})
_EXAMPLE = """{
  "%s": {
    "evaluation": "A [X] is sold at the [Y].",
    "training": ["You can buy [X] at a [Y].", "The [Y] sells [X]."]
  }
}"""


@dataclass(frozen=True, slots=True)
class RelationTemplates:
    """The wordings of one relation.

    `evaluation` is the one prompt of evaluation, and the default when serving; `training` are the
    wordings that a mask is learned from.

    Raises:
        DataError: no training template, or one without exactly one `[X]` and one `[Y]`.
    """

    relation: str
    evaluation: str
    training: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.training:
            raise DataError(f"relation {self.relation}: give at least one training template")
        for template in (self.evaluation, *self.training):
            check_template(self.relation, template)


def check_template(relation: str, template: str) -> None:
    """Check that a template has one slot for the subject and one for the object.

    Raises:
        DataError: it has not; the text names the relation and the template.
    """
    for slot, role in ((SUBJECT_SLOT, "subject"), (OBJECT_SLOT, "object")):
        count = template.count(slot)
        if count != 1:
            raise DataError(
                f"relation {relation}: template {template!r} has {slot}, the place of the {role}, "
                f"{'not at all' if count == 0 else f'{count} times'}; it must be there once"
            )


def load_templates(path: Path | None = None) -> dict[str, RelationTemplates]:
    """Return the templates of a file by relation; without a file, the shipped ones.

    Shipped are those of LAMA's relations of ConceptNet (`IsA`) and of Wikidata (`P19`).

    A file is either one JSON object, `{"relation": {"evaluation": "...", "training": [...]}}`, or
    JSON lines of `{"relation": ..., "template": ...}` (LAMA's `pred` is taken too). In JSON lines
    the first template of a relation is for evaluation and the others are for training; a single
    one serves both.

    Raises:
        DataError: the file cannot be read or a template is not usable, with the relation's name.
    """
    if path is None:
        return {name: wording for one in _SHIPPED for name, wording in load_templates(one).items()}
    source = read_source(path)
    if not all(is_unicode(line) for line in source.lines):
        raise DataError(f"{source.name}: not valid UTF-8")
    lines = [(number, line) for number, line in enumerate(source.lines, 1) if line.strip()]
    if not lines:
        raise DataError(f"{source.name}: is empty; {how_to_write('MyRelation')}")
    try:
        first: Mapping[str, object] | None = json_object(lines[0][1])
    except RowError:
        first = None
    if first is not None and isinstance(first.get("template"), str):
        return _from_lines(lines, source.name)
    return _from_object("\n".join(source.lines), source.name)


def select_templates(
    templates: Mapping[str, RelationTemplates], relations: Iterable[str]
) -> dict[str, RelationTemplates]:
    """Return the templates of `relations`, in that order.

    Raises:
        DataError: relations without templates; the text shows how to write them.
    """
    wanted = list(dict.fromkeys(relations))
    missing = [relation for relation in wanted if relation not in templates]
    if missing:
        raise DataError(f"no templates for {', '.join(missing)}; {how_to_write(missing[0])}")
    return {relation: templates[relation] for relation in wanted}


def how_to_write(relation: str) -> str:
    """Return how to write a template file, with `relation` in the example."""
    example = _EXAMPLE.replace('"%s"', json.dumps(relation, ensure_ascii=False))
    return (
        "write a JSON file of templates like this, [X] for the subject and [Y] for the object "
        f"(one word), and pass it:\n{example}"
    )


def _from_lines(lines: Sequence[tuple[int, str]], name: str) -> dict[str, RelationTemplates]:
    wordings: dict[str, list[str]] = {}
    for number, line in lines:
        try:
            record = json_object(line)
        except RowError as error:
            raise DataError(f"{name} line {number}: {error}") from error
        relation = record.get("relation", record.get("pred"))
        template = record.get("template")
        if not (isinstance(relation, str) and relation.strip() and isinstance(template, str)):
            raise DataError(
                f'{name} line {number}: {{"relation": ..., "template": ...}} belongs here, both '
                "strings"
            )
        wordings.setdefault(relation, []).append(template)
    return {
        relation: _named(name, relation, texts[0], tuple(texts[1:]) or (texts[0],))
        for relation, texts in wordings.items()
    }


def _from_object(text: str, name: str) -> dict[str, RelationTemplates]:
    try:
        content: object = json.loads(text, object_pairs_hook=_unique)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{name}: invalid JSON ({error}); {how_to_write('MyRelation')}") from error
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    if not isinstance(content, dict) or not content:
        raise DataError(f"{name}: no object of relations; {how_to_write('MyRelation')}")
    return {relation: _from_entry(relation, entry, name) for relation, entry in content.items()}


def _from_entry(relation: str, entry: object, name: str) -> RelationTemplates:
    if not relation.strip():
        raise DataError(f"{name}: a relation's name is empty")
    if not isinstance(entry, dict) or entry.keys() != _FIELDS:
        raise DataError(
            f"{name}: relation {relation} must have 'evaluation' and 'training' and nothing else; "
            f"{how_to_write(relation)}"
        )
    evaluation, training = entry["evaluation"], entry["training"]
    if not isinstance(evaluation, str):
        raise DataError(f"{name}: relation {relation}: 'evaluation' must be one string")
    if not isinstance(training, list) or not all(isinstance(text, str) for text in training):
        raise DataError(f"{name}: relation {relation}: 'training' must be a list of strings")
    return _named(name, relation, evaluation, tuple(training))


def _named(
    name: str, relation: str, evaluation: str, training: tuple[str, ...]
) -> RelationTemplates:
    try:
        return RelationTemplates(relation, evaluation, training)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error


def _unique(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    # json keeps the last of two equal names; a relation written twice is more likely a mistake.
    entries: dict[str, object] = {}
    for key, value in pairs:
        if key in entries:
            raise DataError(f"{key!r} is there twice")
        entries[key] = value
    return entries
