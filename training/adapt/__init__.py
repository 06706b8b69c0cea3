"""Turns an encoder without a language-model head back into a masked language model.

The recipe (objective, initialisation, rates) is `config.AdaptConfig`; `run.adapt` runs it and
resumes it.
"""

from training.adapt.config import AdaptConfig
from training.adapt.run import AdaptError, adapt

__all__ = ["AdaptConfig", "AdaptError", "adapt"]
