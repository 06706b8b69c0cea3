"""The version of this installation."""

from importlib.metadata import PackageNotFoundError, version


def relata_version() -> str:
    """Version of the installed distribution; `0+checkout` where it runs from its source folder."""
    try:
        return version("relata")
    except PackageNotFoundError:
        return "0+checkout"
