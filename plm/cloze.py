"""Cloze prompts: a template with [X] for the subject and [Y] for the object, made into tokens."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from plm.base import BaseModel
from plm.errors import PromptError, TemplateError
from plm.rows import EncodedRow
from plm.text import collapse_spaces, forbidden_character

SUBJECT = "[X]"
OBJECT = "[Y]"
_PLACEHOLDER = re.compile(r"\[[A-Za-z]\]")
_PLAIN = re.compile(r"[A-Za-z0-9]")


@dataclass(frozen=True)
class Template:
    """A sentence with one [Y] and at most one [X], as LAMA writes them; made by `parse`.

    Attributes:
        text: the template as written.
    """

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Check a template.

        Raises:
            TemplateError: not exactly one [Y], more than one [X], another placeholder such as
                [x] or [Z], or a character that no text has.
        """
        if bad := forbidden_character(text):
            raise TemplateError(f"template {text!r:.160} holds {bad}; write plain text")
        for placeholder in _PLACEHOLDER.findall(text):
            if placeholder not in (SUBJECT, OBJECT):
                raise TemplateError(
                    f"template {text!r:.160} holds {placeholder}; placeholders are {SUBJECT} for "
                    f"the subject and {OBJECT} for the object"
                )
        if (count := text.count(OBJECT)) != 1:
            raise TemplateError(
                f"template {text!r:.160} holds {OBJECT} {count} times; it must hold it exactly "
                f"once, where the object stands"
            )
        if (count := text.count(SUBJECT)) > 1:
            raise TemplateError(
                f"template {text!r:.160} holds {SUBJECT} {count} times; it may hold it once, "
                f"where the subject stands"
            )
        return cls(text)

    @property
    def has_subject(self) -> bool:
        """Whether the template needs a subject."""
        return SUBJECT in self.text

    @property
    def inverse(self) -> Self:
        """The template that asks for the subject of a given object: [X] and [Y] change places.

        Raises:
            TemplateError: there is no [X].
        """
        if not self.has_subject:
            raise TemplateError(
                f"template {self.text!r:.160} has no {SUBJECT}; it must have one, where the "
                f"subject stands, to ask for the subject"
            )
        swapped = {SUBJECT: OBJECT, OBJECT: SUBJECT}
        return type(self)(_PLACEHOLDER.sub(lambda found: swapped[found[0]], self.text))

    def fill(self, subject: str | None, mask_token: str) -> str:
        """The text with the placeholders replaced, each once; `subject` is not looked into."""
        # Each side of [Y] on its own, so that a subject that says "[Y]" stays as it is.
        return mask_token.join(
            part.replace(SUBJECT, subject or "") for part in self.text.split(OBJECT)
        )


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt as the model reads it.

    Attributes:
        text: the prompt, with the mask token where the object stands.
        input_ids: its tokens, special ones included.
        mask_position: index of the (first) mask token in `input_ids`.
        masks: how many mask tokens stand there, one for each token of the object.
    """

    text: str
    input_ids: tuple[int, ...]
    mask_position: int
    masks: int = 1

    @property
    def row(self) -> EncodedRow:
        """What the engine reads: the model is asked at the mask tokens."""
        return EncodedRow(
            self.input_ids, tuple(range(self.mask_position, self.mask_position + self.masks))
        )

    def widened(self, count: int) -> "EncodedPrompt":
        """The prompt that asks for an object of `count` tokens."""
        position = self.mask_position
        masks = self.input_ids[position : position + 1] * count
        ids = (*self.input_ids[:position], *masks, *self.input_ids[position + self.masks :])
        return replace(self, input_ids=ids, masks=count)

    def with_object(self, text: str, mask_token: str) -> str:
        """The prompt with a text in place of the mask token."""
        # The mask token stands in a prompt exactly once, which `encode_prompt` sees to.
        return text.join(self.text.split(mask_token))


@dataclass(frozen=True, eq=False)
class EncodedBatch:
    """Prompts padded on the right to the longest; all tensors are long and on the base's device.

    Attributes:
        input_ids: (B, T).
        attention_mask: (B, T), 1 for tokens and 0 for padding.
        mask_positions: (B,), of the first mask token.
    """

    input_ids: Tensor
    attention_mask: Tensor
    mask_positions: Tensor


def encode_prompt(base: BaseModel, template: Template, subject: str | None) -> EncodedPrompt:
    """Fill a template and tokenise it. The subject's spaces are trimmed and collapsed.

    Raises:
        PromptError: `subject` is missing, not asked for, blank, or holds what a subject cannot
            hold (special tokens of the model, control characters); `template` holds special
            tokens; or the prompt is longer than the model reads.
    """
    subject = _checked_subject(base, template, subject)
    for token in base.tokenizer.special_tokens:
        if token in template.text:
            raise PromptError(
                "template",
                f"it holds the model's special token {token}; the object's place is {OBJECT}",
            )
    text = template.fill(subject, base.mask_token)
    ids: list[int] = base.tokenizer.backend.encode(text).ids
    at_fault = "template" if subject is None else "subject"
    if len(ids) > base.max_length:
        raise PromptError(
            at_fault,
            f"the prompt is {len(ids)} tokens long; {base.name} reads at most {base.max_length}",
        )
    if (count := ids.count(base.mask_token_id)) != 1:
        raise PromptError(
            at_fault, f"the prompt becomes {count} mask tokens; it must become exactly one"
        )
    return EncodedPrompt(text, tuple(ids), ids.index(base.mask_token_id))


def collate(prompts: Sequence[EncodedPrompt], base: BaseModel) -> EncodedBatch:
    """Pad prompts to one batch, in the order given.

    Raises:
        ValueError: there are no prompts.
    """
    if not prompts:
        raise ValueError("a batch has at least one prompt")
    longest = max(len(prompt.input_ids) for prompt in prompts)
    ids = torch.full((len(prompts), longest), base.pad_token_id)
    mask = torch.zeros(len(prompts), longest, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        length = len(prompt.input_ids)
        ids[row, :length] = torch.tensor(prompt.input_ids)
        mask[row, :length] = 1
    positions = torch.tensor([prompt.mask_position for prompt in prompts])
    return EncodedBatch(ids.to(base.device), mask.to(base.device), positions.to(base.device))


def _checked_subject(base: BaseModel, template: Template, subject: str | None) -> str | None:
    if not template.has_subject:
        if subject is not None:
            raise PromptError(
                "subject",
                f"the template {template.text!r:.160} has no {SUBJECT} to put a subject in; "
                f"leave the subject out or add {SUBJECT}",
            )
        return None
    if subject is None:
        raise PromptError("subject", f"the template {template.text!r:.160} needs a subject")
    if bad := forbidden_character(subject):
        raise PromptError("subject", f"it holds {bad}; write plain text")
    subject = collapse_spaces(subject)
    if not subject:
        raise PromptError("subject", "it is blank; name a thing, e.g. 'linen'")
    for token in base.tokenizer.special_tokens:
        if token in subject:
            raise PromptError(
                "subject", f"it holds the model's special token {token}; write plain text"
            )
    # Characters that the tokenizer drops (zero-width ones, for instance) leave nothing to ask. No
    # tokenizer drops letters and digits of ASCII.
    if not _PLAIN.search(subject) and not (
        base.tokenizer.backend.encode(subject, add_special_tokens=False).ids
    ):
        raise PromptError("subject", "no character of it is known to the model's tokenizer")
    return subject
