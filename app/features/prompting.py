"""The sentence that asks for one end of a triple, the other being given."""

from app.catalogue import Catalogue
from app.errors import FieldFault, PromptRefusedError
from app.features.feature import Path
from app.features.specialise import template_of
from app.knowledge import Role
from plm import BaseModel, EncodedPrompt, PromptError, Template, encode_prompt

OTHER: dict[Role, Role] = {"subject": "object", "object": "subject"}


def triple_template(
    catalogue: Catalogue,
    relations: tuple[str, ...],
    text: str | None,
    path: Path = (),
    *,
    at: Path = ("template",),
) -> Template:
    """The template given, or the default one of the first relation, with a place for either end.

    `at` is where the text stands under `path`.

    Raises:
        PromptRefusedError: there is neither, or the text is no such template.
    """
    try:
        template = template_of(catalogue, relations, text)
    except PromptRefusedError as error:
        faults = tuple(FieldFault((*path, *at), fault.detail) for fault in error.faults)
        raise PromptRefusedError(faults) from error
    if not template.has_subject:
        detail = (
            f"{template.text!r:.160} has no [X], where the subject stands; a triple needs both "
            f"[X] and [Y]"
        )
        raise PromptRefusedError((FieldFault((*path, *at), detail),))
    return template


def encode_end(
    base: BaseModel,
    template: Template,
    asked: Role,
    given: str,
    path: Path = (),
    *,
    at: Path = ("template",),
) -> EncodedPrompt:
    """The prompt that asks for the object of a subject, or for the subject of an object.

    The end that is asked for is masked, and the given one, of any number of tokens, is filled in.
    `at` is where the template stands under `path`.

    Raises:
        PromptRefusedError: what is given makes no prompt, or the template does not.
    """
    try:
        return encode_prompt(base, template if asked == "object" else template.inverse, given)
    except PromptError as error:
        raise prompt_refused(error, asked, path, at=at) from error


def prompt_refused(
    error: PromptError, asked: Role, path: Path = (), *, at: Path = ("template",)
) -> PromptRefusedError:
    """The error as the client sees it: at the template, or at the end that was given."""
    where = at if error.field == "template" else (OTHER[asked],)
    return PromptRefusedError((FieldFault((*path, *where), error.reason),))
