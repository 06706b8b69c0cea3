"""Plain text into word pieces, once: a folder of `.txt[.xz|.gz]` files, a few sentences a line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from training.adapt.config import AdaptConfig
from training.adapt.verbalise import verbalise
from training.data import DataError
from training.text import lines_of, sentences_of, text_files

_LINES_A_CALL = 20_000
_SHORTEST = 5  # pieces, [CLS] and [SEP] included: a mask needs some context


class CorpusError(DataError):
    """The folder of text cannot be used; the message says what would be right."""


@dataclass(frozen=True)
class Corpus:
    """Word pieces of every sentence, end to end.

    pieces: (tokens,) int32, each sentence with its special tokens; starts: (sentences + 1,) int64;
    files: (sentences,) int16, index into file_names; held_out: (sentences,) bool.
    """

    pieces: NDArray[np.int32]
    starts: NDArray[np.int64]
    files: NDArray[np.int16]
    held_out: NDArray[np.bool_]
    file_names: tuple[str, ...]
    digest: str

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(sentences,) word pieces of each sentence."""
        return np.diff(self.starts)

    def frequencies(self, vocabulary: int) -> NDArray[np.float64]:
        """(vocabulary,) share of each token among the pieces, add-one smoothed."""
        counts = np.bincount(self.pieces, minlength=vocabulary) + 1.0
        return cast(NDArray[np.float64], counts / counts.sum())


def read_corpus(folder: Path, tokenizer: Any, config: AdaptConfig, cache: Path) -> Corpus:
    """The tokenised corpus, from `cache` when it was made of the same files and settings.

    Raises:
        CorpusError: nothing usable in the folder.
    """
    files = text_files(folder)
    digest = _digest(files, tokenizer, config)
    stored = cache / "corpus.npz"
    if stored.exists():
        with np.load(stored) as arrays:
            if str(arrays["digest"]) == digest:
                return _corpus({name: arrays[name] for name in arrays.files}, files, digest)
    arrays = _tokenise(files, tokenizer, config)
    cache.mkdir(parents=True, exist_ok=True)
    np.savez(stored, allow_pickle=False, digest=np.array(digest), **arrays)
    return _corpus(arrays, files, digest)


def _corpus(arrays: Mapping[str, NDArray[Any]], files: list[Path], digest: str) -> Corpus:
    return Corpus(
        pieces=arrays["pieces"],
        starts=arrays["starts"],
        files=arrays["files"],
        held_out=arrays["held_out"],
        file_names=tuple(path.name for path in files),
        digest=digest,
    )


def _digest(files: list[Path], tokenizer: Any, config: AdaptConfig) -> str:
    """Identifies what the cache was made of; file sizes stand in for their bytes."""
    # The vocabulary alone: a tokenizer's own text changes once it was asked to truncate.
    vocabulary = json.dumps(tokenizer.get_vocab(), sort_keys=True)
    facts = {
        "files": [(path.name, path.stat().st_size) for path in files],
        "tokenizer": hashlib.sha256(vocabulary.encode()).hexdigest(),
        "settings": [config.max_length, list(config.verbalise), config.held_out_share],
        "version": 1,
    }
    return "sha256:" + hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _sentences(path: Path, config: AdaptConfig) -> Iterator[str]:
    dictionary = path.name.startswith(config.verbalise) if config.verbalise else False
    for index, line in enumerate(lines_of(path)):
        yield from sentences_of(verbalise(line, index) if dictionary else line)


def _held_out(sentence: str, share: float) -> bool:
    """By the text itself, so that a sentence that occurs twice never falls on both sides."""
    digest = hashlib.blake2b(sentence.casefold().encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64


def _tokenise(files: list[Path], tokenizer: Any, config: AdaptConfig) -> dict[str, NDArray[Any]]:
    pieces: list[NDArray[np.int32]] = []
    lengths: list[int] = []
    origin: list[int] = []
    held_out: list[bool] = []

    def take(batch: list[str], index: int) -> None:
        encoded = tokenizer(batch, truncation=True, max_length=config.max_length)["input_ids"]
        for sentence, ids in zip(batch, encoded, strict=True):
            if len(ids) < _SHORTEST:
                continue
            pieces.append(np.asarray(ids, dtype=np.int32))
            lengths.append(len(ids))
            origin.append(index)
            held_out.append(_held_out(sentence, config.held_out_share))

    for index, path in enumerate(files):
        batch: list[str] = []
        for sentence in _sentences(path, config):
            batch.append(sentence)
            if len(batch) == _LINES_A_CALL:
                take(batch, index)
                batch = []
        if batch:
            take(batch, index)
    if not pieces:
        raise CorpusError(
            f"no sentence of {_SHORTEST - 2} word pieces or more in {files[0].parent}"
        )
    return {
        "pieces": np.concatenate(pieces),
        "starts": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        "files": np.asarray(origin, dtype=np.int16),
        "held_out": np.asarray(held_out),
    }
