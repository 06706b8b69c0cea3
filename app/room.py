"""How much of what waits goes into one forward pass."""

from plm import Probe

# Attention alone sees padding; a pass may hold so many padded tokens for each real one it may
# hold, so that one long row does not make a hundred short ones long.
_PADDING = 2


class PassRoom:
    """Room for probes by their tokens; the first probe is admitted whatever it needs."""

    def __init__(self, tokens: int) -> None:
        self._budget = tokens
        self._tokens = 0
        self._rows = 0
        self._longest = 0

    def admit(self, work: Probe) -> bool:
        """Take the probe too, if it fits."""
        length = len(work.row.input_ids)
        longest = max(self._longest, length)
        fits = (
            self._tokens + length <= self._budget
            and longest * (self._rows + 1) <= _PADDING * self._budget
        )
        if self._rows and not fits:
            return False
        self._tokens, self._rows, self._longest = self._tokens + length, self._rows + 1, longest
        return True
