"""What a response says of the cache: the header `Cache-Status` (RFC 9211)."""

from collections.abc import Mapping

from app.cache.answers import Source

HEADER = "Cache-Status"


def cache_status(sources: Mapping[Source, int]) -> str:
    """The header's value, given how many readings came from where.

    `hit`: the model was not asked. Otherwise `fwd` says why it was, because of a `miss` or because
    only `partial` was held; and `collapsed` that all the rest was asked by others at that moment.
    `detail` has the figures.
    """
    held = sources.get(Source.MEMORY, 0) + sources.get(Source.REDIS, 0)
    asked = sources.get(Source.MODEL, 0)
    if held == sum(sources.values()):
        status = "hit"
    else:
        status = f"fwd={'partial' if held else 'miss'}"
        if not asked:
            status += ";collapsed"
    detail = " ".join(f"{source.value}={sources.get(source, 0)}" for source in Source)
    return f'relata;{status};detail="{detail}"'
