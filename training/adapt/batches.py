"""Which sentences make up which batch: a plan that depends on the seed and the pass alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from training.adapt.config import AdaptConfig
from training.adapt.corpus import Corpus


def pass_plan(corpus: Corpus, config: AdaptConfig, number: int) -> Iterator[NDArray[np.int64]]:
    """Sentence indices, batch by batch, of pass `number` over the corpus.

    Sentences of like length share a batch (they are sorted within windows), so that little is
    padded; batches of a window come in random order.
    """
    rng = np.random.default_rng([config.seed, number])
    order = rng.permutation(_drawn(corpus, config, rng))
    lengths = corpus.lengths
    for start in range(0, len(order), config.length_window):
        window = order[start : start + config.length_window]
        window = window[np.argsort(lengths[window], kind="stable")]
        batches = list(_cut(window, lengths, config.batch_tokens))
        for index in rng.permutation(len(batches)):
            yield batches[index]


def _drawn(corpus: Corpus, config: AdaptConfig, rng: np.random.Generator) -> NDArray[np.int64]:
    """Training sentences of one pass; a file's share may exceed 1 (its sentences then repeat)."""
    chosen = []
    for index, name in enumerate(corpus.file_names):
        lines = np.flatnonzero((corpus.files == index) & ~corpus.held_out)
        starts = [prefix for prefix in config.file_shares if name.startswith(prefix)]
        share = config.file_shares[max(starts, key=len)] if starts else 1.0
        whole = int(share)
        rest = rng.choice(lines, size=round((share - whole) * len(lines)), replace=False)
        chosen += [lines] * whole + [rest]
    return np.concatenate(chosen).astype(np.int64)


def _cut(
    window: NDArray[np.int64], lengths: NDArray[np.int64], batch_tokens: int
) -> Iterator[NDArray[np.int64]]:
    start = 0
    for stop in range(1, len(window) + 1):
        # Sorted by length: the newest sentence is the longest, so it sets the padded size.
        if stop == len(window) or lengths[window[stop]] * (stop + 1 - start) > batch_tokens:
            yield window[start:stop]
            start = stop


def padded(
    corpus: Corpus, sentences: NDArray[np.int64], pad_token_id: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids (B, T) int64, attention mask (B, T) int64) of the sentences."""
    lengths = corpus.lengths[sentences]
    ids = np.full((len(sentences), int(lengths.max())), pad_token_id, dtype=np.int64)
    for row, (sentence, length) in enumerate(zip(sentences, lengths, strict=True)):
        start = corpus.starts[sentence]
        ids[row, :length] = corpus.pieces[start : start + length]
    attention = np.arange(ids.shape[1])[None, :] < lengths[:, None]
    return torch.from_numpy(ids), torch.from_numpy(attention.astype(np.int64))
