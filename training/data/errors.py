"""The one error type for training data that cannot be used as it stands."""


class DataError(ValueError):
    """Training data, templates or a saved split that cannot be used; the text says what to do."""
