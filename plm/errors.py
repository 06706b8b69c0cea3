"""Every error this package raises on purpose; each message names the fault and what is right."""


class PlmError(ValueError):
    """Base of all errors of the `plm` package."""


class BaseModelError(PlmError):
    """A base model that cannot be loaded, or cannot serve cloze prompts."""


class TemplateError(PlmError):
    """A cloze template that breaks the rules of [X] and [Y]."""


class ObjectError(PlmError):
    """A word that is not exactly one token, or a token id outside the vocabulary."""


class RowLimitError(PlmError):
    """Something that needs more rows of the model than the caller allows.

    Attributes:
        count: how many it needs.
    """

    def __init__(self, count: int, limit: int) -> None:
        super().__init__(f"{count} rows of the model are needed, and at most {limit} are allowed")
        self.count = count


class PromptError(PlmError):
    """A request that cannot become a prompt or a ranking.

    Attributes:
        field: name of the input at fault: `subject`, `template`, `top_k`, `targets` or `allowed`.
        reason: one sentence with the fault and what would be right.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"
