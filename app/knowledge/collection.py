"""The knowledge bases of a service, by name."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from app.errors import StartupError, UnknownKnowledgeError
from app.knowledge.knowledge_base import KnowledgeBase, Role

logger = logging.getLogger(__name__)

_LOGGED_LINES = 3


@dataclass(frozen=True, eq=False)
class Knowledge:
    """Loaded knowledge bases; never changed.

    Attributes:
        bases: by name, in the order given.
    """

    bases: Mapping[str, KnowledgeBase] = field(default_factory=dict)

    @classmethod
    def load(cls, paths: Iterable[Path]) -> Self:
        """Read files of facts; bad lines are logged and left out.

        Raises:
            StartupError: a file cannot be read or holds no fact, or two have the same name.
        """
        files: dict[str, Path] = {}
        for path in paths:
            if (other := files.setdefault(path.stem, path)) is not path:
                raise StartupError(
                    f"two knowledge bases are named {path.stem}: {other} and {path}; rename one, "
                    f"or leave it out of RELATA_KNOWLEDGE"
                )
        return cls({name: _load(path) for name, path in files.items()})

    def __bool__(self) -> bool:
        return bool(self.bases)

    def find(self, name: str) -> KnowledgeBase:
        """The knowledge base of that name.

        Raises:
            UnknownKnowledgeError: there is none.
        """
        if (found := self.bases.get(name)) is None:
            raise UnknownKnowledgeError(name, tuple(self.bases))
        return found

    def known(self, role: Role, relations: Sequence[str], other: str) -> tuple[str, ...]:
        """What any of them knows to stand in a role, in any of the relations, each once.

        `other` is what stands at the other end: the subject if objects are asked for.
        """
        texts = (
            text
            for base in self.bases.values()
            for relation in relations
            for text in base.known(role, relation, other)
        )
        return tuple(dict.fromkeys(texts))


def _load(path: Path) -> KnowledgeBase:
    base = KnowledgeBase.load(path)
    logger.info(
        "knowledge base %s: %d triples of %d relations, %d bad lines",
        base.name,
        base.triples,
        len(base.relations),
        len(base.bad_lines),
    )
    for line in base.bad_lines[:_LOGGED_LINES]:
        logger.warning("%s line %d is left out: %s", path, line.number, line.reason)
    if len(base.bad_lines) > _LOGGED_LINES:
        logger.warning("%s has more bad lines; GET /knowledge lists them", path)
    return base
