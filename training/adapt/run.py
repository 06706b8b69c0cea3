"""The adaptation run: batches, optimisation, held-out figures, checkpoints."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from training.adapt.batches import padded, pass_plan
from training.adapt.checkpoint import Progress, load_checkpoint, save_checkpoint
from training.adapt.config import AdaptConfig
from training.adapt.corpus import Corpus, read_corpus
from training.adapt.masking import Masker
from training.adapt.model import (
    AdaptedModel,
    load_model,
    parameter_groups,
    save_model,
    start_head,
)
from training.data import DataError

_HELD_OUT_SENTENCES = 2_000
_MEMORY = 0.99  # of the running loss, a step


class AdaptError(ValueError):
    """The run cannot start or go on; the message says what would be right."""


@dataclass(frozen=True)
class Report:
    """Figures as a run goes. Losses in nats a masked piece; accuracy is the share predicted right.

    held_out_loss and held_out_accuracy are None between evaluations.
    """

    step: int
    tokens: int
    token_budget: int
    tokens_a_second: float
    running_loss: float
    held_out_loss: float | None = None
    held_out_accuracy: float | None = None


def adapt(
    source: str,
    text: Path,
    out: Path,
    config: AdaptConfig,
    *,
    report: Callable[[Report], None] = lambda _: None,
) -> Report:
    """Adapts `source` (hub id or folder) on the text, into the transformers folder `out`/model.

    Resumes from `out`/checkpoint.pt when one is there: killed at any moment, a run loses at most
    `save_every` steps. Returns the last report, with held-out figures.

    Raises:
        AdaptError: no usable text, or a checkpoint of other settings.
    """
    out.mkdir(parents=True, exist_ok=True)
    _check_settings(out / "settings.json", source, config)
    torch.manual_seed(config.seed)
    loaded = load_model(source)
    try:
        corpus = read_corpus(text, loaded.tokenizer, config, out)
    except DataError as error:
        raise AdaptError(str(error)) from error
    frequencies = corpus.frequencies(loaded.model.config.vocab_size)
    mask_token_id = loaded.tokenizer.mask_token_id
    if loaded.fresh_head:
        start_head(loaded.model, mask_token_id, frequencies)
    masker = Masker(
        loaded.tokenizer.get_vocab(),
        loaded.tokenizer.all_special_ids,
        mask_token_id,
        frequencies,
        config,
    )
    run = _Run(
        AdaptedModel(loaded.model, mask_token_id), corpus, masker, config, out=out, report=report
    )
    last = run.finish()
    save_model(run.adapted, loaded.tokenizer, out / "model")
    return last


def _check_settings(path: Path, source: str, config: AdaptConfig) -> None:
    """A folder belongs to one run: other settings would resume into a mixture of two."""
    settings = json.dumps({"source": source, **asdict(config)}, indent=2, sort_keys=True)
    if path.exists() and path.read_text(encoding="utf-8") != settings:
        raise AdaptError(
            f"{path.parent} holds a run with other settings (see {path.name}); "
            "give another --out, or the same settings to resume it"
        )
    path.write_text(settings, encoding="utf-8")


class _Run:
    def __init__(
        self,
        adapted: AdaptedModel,
        corpus: Corpus,
        masker: Masker,
        config: AdaptConfig,
        *,
        out: Path,
        report: Callable[[Report], None],
    ) -> None:
        self.adapted = adapted
        self.corpus = corpus
        self.masker = masker
        self.config = config
        self.checkpoint = out / "checkpoint.pt"
        self.log = out / "log.jsonl"
        self.report = report
        self.optimizer = torch.optim.AdamW(
            parameter_groups(adapted, config), betas=(0.9, 0.98), fused=True
        )
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.progress = Progress()
        if self.checkpoint.exists():
            self.progress = load_checkpoint(self.checkpoint, adapted, self.optimizer)

    def finish(self) -> Report:
        """Trains until the budget is read."""
        progress, config = self.progress, self.config
        started, before = time.monotonic(), progress.tokens
        while progress.tokens < config.token_budget:
            for index, sentences in enumerate(pass_plan(self.corpus, config, progress.pass_number)):
                if index < progress.batch:
                    continue
                self._step(sentences)
                progress.batch = index + 1
                speed = (progress.tokens - before) / (time.monotonic() - started)
                if progress.step % config.evaluate_every == 0:
                    self._tell(speed, evaluate=True)
                elif progress.step % config.report_every == 0:
                    self._tell(speed, evaluate=False)
                if progress.step % config.save_every == 0:
                    save_checkpoint(self.checkpoint, progress, self.adapted, self.optimizer)
                if progress.tokens >= config.token_budget:
                    break
            else:
                progress.pass_number, progress.batch = progress.pass_number + 1, 0
        save_checkpoint(self.checkpoint, progress, self.adapted, self.optimizer)
        seconds = time.monotonic() - started
        return self._tell((progress.tokens - before) / max(seconds, 1e-9), evaluate=True)

    def _step(self, sentences: np.ndarray) -> None:
        progress, config = self.progress, self.config
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * self._schedule()
        # By step, so that a resumed run hides the same pieces as one that was never stopped.
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + progress.step)
        loss, _, tokens = self._loss(sentences, generator)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.adapted.parameters(), config.clip_norm)
        self.optimizer.step()
        value = float(loss.detach())
        weight = _MEMORY if progress.step else 0.0
        progress.running_loss = weight * progress.running_loss + (1 - weight) * value
        progress.step += 1
        progress.tokens += tokens

    def _loss(
        self, sentences: np.ndarray, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, int]:
        ids, attention = padded(self.corpus, sentences, self.adapted.pad_token_id)
        masked, chosen = self.masker(ids, attention, generator)
        loss, right = self.adapted(masked, attention, chosen, ids)
        return loss, right.float() / chosen.sum(), int(attention.sum())

    def _schedule(self) -> float:
        """Linear warm-up, then linear decay to zero, by tokens read."""
        done = self.progress.tokens / self.config.token_budget
        warm = self.config.warmup_share
        return max(min((done + 1e-3) / warm if warm else 1.0, (1 - done) / (1 - warm)), 0.0)

    def _tell(self, speed: float, *, evaluate: bool) -> Report:
        held_out = self._held_out() if evaluate else (None, None)
        report = Report(
            self.progress.step,
            self.progress.tokens,
            self.config.token_budget,
            round(speed, 1),
            round(self.progress.running_loss, 4),
            *held_out,
        )
        with self.log.open("a", encoding="utf-8") as log:
            log.write(json.dumps(asdict(report)) + "\n")
        self.report(report)
        return report

    @torch.no_grad()
    def _held_out(self) -> tuple[float | None, float | None]:
        """Mean over batches of up to 2,000 held-out sentences, masked the same way each time."""
        chosen = np.flatnonzero(self.corpus.held_out)
        if not len(chosen):
            return None, None
        rng = np.random.default_rng(0)
        chosen = rng.permutation(chosen)[:_HELD_OUT_SENTENCES]
        chosen = chosen[np.argsort(self.corpus.lengths[chosen])]
        generator = torch.Generator().manual_seed(0)
        losses, rights = [], []
        self.adapted.eval()
        for start in range(0, len(chosen), 200):
            loss, right, _ = self._loss(chosen[start : start + 200], generator)
            losses.append(float(loss))
            rights.append(float(right))
        self.adapted.train()
        return round(float(np.mean(losses)), 4), round(float(np.mean(rights)), 4)
