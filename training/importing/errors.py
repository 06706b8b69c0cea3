"""The one error of imports."""


class LampError(ValueError):
    """A file of LAMP's that cannot be imported, or not into that pack; the text says why."""
