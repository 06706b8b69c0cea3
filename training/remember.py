"""Text whose answers masks are to leave as they are, from files."""

from dataclasses import dataclass
from pathlib import Path

from plm import BaseModel, EncodedPrompt
from training.data import DataError
from training.learning import reminders_of
from training.text import digest_of_files, lines_of, sentences_of, text_files

_SENTENCES = 2_000


@dataclass(frozen=True)
class Remembered:
    """Sentences, each with a token masked.

    Attributes:
        digest: `sha256:` of the files they are from.
        prompts: the sentences.
    """

    digest: str
    prompts: tuple[EncodedPrompt, ...]


def read_remembered(
    base: BaseModel, path: Path, *, seed: int, count: int = _SENTENCES
) -> Remembered:
    """Take `count` sentences of a text file, or of a folder of them, at random.

    Raises:
        DataError: there is no text, it cannot be read, or no sentence of it is usable.
    """
    files = text_files(path)
    sentences = (text for file in files for line in lines_of(file) for text in sentences_of(line))
    prompts = reminders_of(base, sentences, count=count, seed=seed)
    if not prompts:
        raise DataError(f"{path} holds no sentence of 3 to 62 tokens that could be remembered")
    return Remembered(digest_of_files(files), tuple(prompts))
