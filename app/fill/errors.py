"""What is refused of a bulk job as a whole; single rows are answered with their own error."""

from app.errors import AppError


class FillError(AppError):
    """The files of a job, or what was begun before, cannot be used; the message says why."""
