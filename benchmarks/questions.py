"""Questions whose subjects occur once, so that no cache of answers can help either side."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice, product

from plm import BaseModel, EncodedPrompt, Template, encode_prompt

_QUALITIES = (
    "old new red blue green white black small large long short heavy light warm cold wet dry "
    "clean dirty broken cheap expensive wooden plastic metal round square soft hard thick thin "
    "empty full open closed sharp dull quiet loud fast slow young strong weak sweet sour fresh "
    "modern simple common rare local foreign"
)
_THINGS = (
    "knife bird table house river car tree book dog cat shirt wheel bottle door window chair "
    "lamp clock phone bridge road garden horse apple bread cup bag boat ball coat hat key box "
    "plate spoon mirror pencil piano guitar hammer needle rope ladder bed wall roof floor train "
    "ship truck engine flower leaf stone lake island farm village market school"
)
QUALITIES = tuple(_QUALITIES.split())
THINGS = tuple(_THINGS.split())

SUBJECT_COUNT = len(QUALITIES) * len(THINGS)


@dataclass(frozen=True)
class Question:
    """A subject and a relation, and the sentence they make under the relation's template."""

    subject: str
    relation: str
    prompt: str


def subjects() -> Iterator[str]:
    """`old knife`, `new bird`, ...: every pair once, neighbours sharing no word."""
    for shift, index in product(range(len(QUALITIES)), range(len(THINGS))):
        yield f"{QUALITIES[(index + shift) % len(QUALITIES)]} {THINGS[index]}"


def long_prompt(base: BaseModel, template: Template, subject: str, tokens: int) -> EncodedPrompt:
    """The prompt about a subject; where it has fewer tokens, that many: `old and old knife`."""
    prompt = encode_prompt(base, template, subject)
    # Each of these words is one token.
    fill = cycle(("old", "and"))
    while len(prompt.input_ids) < tokens:
        subject = f"{next(fill)} {subject}"
        prompt = encode_prompt(base, template, subject)
    return prompt


class Questioner:
    """Makes questions of never repeated subjects.

    Attributes:
        relations: those that can be asked, the one that is asked repeatedly first.
    """

    def __init__(self, templates: Mapping[str, str], mask_token: str) -> None:
        self.relations = tuple(templates)
        self._templates = {name: Template.parse(text) for name, text in templates.items()}
        self._mask_token = mask_token
        self._fresh = subjects()

    def take(self, count: int) -> list[str]:
        """Subjects that nothing was asked about before; fewer when there are no more."""
        return list(islice(self._fresh, count))

    def ask(self, about: Sequence[str], *, rotating: bool) -> list[Question]:
        """A question about each subject: the relations in turns, or the first one only."""
        names = cycle(self.relations if rotating else self.relations[:1])
        return [
            Question(subject, name, self._templates[name].fill(subject, self._mask_token))
            for subject, name in zip(about, names, strict=False)
        ]
