"""Following relations: what is two to four hops away from a subject, by beam search."""

from app.catalogue import Catalogue
from app.errors import CombineError, FieldFault, PromptRefusedError, RequestError
from app.features.candidates import CandidateSets
from app.features.feature import Path
from app.features.likelihood import calibration_of
from app.features.path_task import Hop, PathTask, Trail
from app.features.prompting import encode_end, triple_template
from app.features.specialise import specialise
from app.schemas.paths import PathQuery
from app.validation import parse
from plm import BaseModel, Template


class Paths:
    """Follows relations from a subject to objects."""

    kind = "paths"
    many = "queries"

    def __init__(self, base: BaseModel, sets: CandidateSets) -> None:
        self._base = base
        self._sets = sets

    def prepare(self, body: object, catalogue: Catalogue, path: Path = ()) -> PathTask:
        """Find the masks of every hop, check their templates, and ask for the first.

        Raises:
            UnknownRelationError, RefusedRelationError: a relation is not served.
            RequestError: a field cannot be used; the error says which, and what is right.
        """
        source = parse(PathQuery, body, path)
        _check(source, path)
        hops = tuple(
            self._hop(catalogue, source, number, path) for number in range(len(source.relations))
        )
        first = encode_end(
            self._base, hops[0].template, "object", source.subject, path, at=("templates", 0)
        )
        start = self._sets.vocabulary.find(source.subject, self._sets.tokens_of(source.subject))
        barred = tuple(sorted(self._sets.vocabulary.objects[place][0] for place in start))
        return PathTask(self._base, source, hops, barred, (Trail((), 0.0),), (first,))

    def _hop(self, catalogue: Catalogue, source: PathQuery, number: int, path: Path) -> Hop:
        relation = source.relations[number]
        model = specialise(
            catalogue,
            relation,
            source.combine if isinstance(relation, list) else None,
            masked=source.masked,
            field="relations",
            path=path,
        )
        at = ("templates", number)
        text = source.templates[number] if source.templates else None
        template = triple_template(catalogue, model.relations, text, path, at=at)
        if number > 0:
            self._check_template(template, path, at)
        return Hop(relation, model, template, calibration_of(model, template))

    def _check_template(self, template: Template, path: Path, at: Path) -> None:
        """A later hop's subjects are words, so that only its template can be at fault."""
        word = self._sets.vocabulary.texts[0]
        try:
            encode_end(self._base, template, "object", word)
        except PromptRefusedError as error:
            faults = tuple(FieldFault((*path, *at), fault.detail) for fault in error.faults)
            raise PromptRefusedError(faults) from error


def _check(source: PathQuery, path: Path) -> None:
    hops = len(source.relations)
    if source.templates is not None and len(source.templates) != hops:
        detail = (
            f"{hops} hops need as many templates, not {len(source.templates)}; null stands for "
            f"the default of a hop"
        )
        raise RequestError((FieldFault((*path, "templates"), detail),))
    if source.combine is not None and not any(isinstance(one, list) for one in source.relations):
        detail = "no hop names a list of relations to combine; leave it out or name some"
        raise CombineError((FieldFault((*path, "combine"), detail),))
