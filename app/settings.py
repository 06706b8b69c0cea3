"""Settings of the service: environment variables `RELATA_*`, or flags of the same names."""

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ByteSize,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.errors import SettingsError
from app.logs import LogFormat
from app.redis_address import RedisAddress

PREFIX = "RELATA_"

Dtype = Literal["auto", "float32", "bfloat16", "int8"]
CacheMode = Literal["auto", "off"]
LogLevel = Literal["debug", "info", "warning", "error"]

_SHORTEST_KEY = 16


def shipped_packs() -> tuple[Path, ...]:
    """The mask packs served by default: one, or none in a checkout without it."""
    folder = shipped_pack("conceptnet")
    return () if folder is None else (folder,)


def shipped_pack(name: str) -> Path | None:
    """The folder of a mask pack that comes with the package, None if there is none of that name."""
    spec = find_spec("masks")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "packs" / name
    return folder if folder.is_dir() else None


def _pack_folders(packs: tuple[Path, ...]) -> tuple[Path, ...]:
    """Folders as they are; a bare name that only a shipped pack has, as that pack's folder."""
    return tuple(
        path if path.exists() or len(path.parts) != 1 else shipped_pack(path.name) or path
        for path in packs
    )


def _split_list(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


Paths = Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_split_list)]
PackPaths = Annotated[Paths, AfterValidator(_pack_folders)]


def _check_redis_url(url: SecretStr) -> SecretStr:
    try:
        RedisAddress.parse(url.get_secret_value())
    except ValueError as error:
        raise PydanticCustomError("redis_url", "{reason}", {"reason": str(error)}) from None
    return url


RedisUrl = Annotated[SecretStr, AfterValidator(_check_redis_url)]


def _split_keys(value: object) -> object:
    return value.split(",") if isinstance(value, str) else value


def _check_key(key: SecretStr) -> SecretStr:
    text = key.get_secret_value()
    if len(text) < _SHORTEST_KEY:
        raise PydanticCustomError(
            "key_length",
            "a key has at least {shortest} characters, and one has {count}",
            {"shortest": _SHORTEST_KEY, "count": len(text)},
        )
    if not all("!" <= character <= "~" and character != "," for character in text):
        raise PydanticCustomError(
            "key_characters", "a key has letters, digits and ASCII punctuation, no space or comma"
        )
    return key


def _check_origin(origin: str) -> str:
    if origin != "*" and not _is_origin(origin):
        raise PydanticCustomError("origin", "it is not what a browser sends as Origin")
    return origin


def _is_origin(text: str) -> bool:
    """Whether a browser could send it: `https://example.org`, `http://localhost:3000`."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    plain = f"{parts.scheme}://{parts.netloc}".lower()
    usual = (parts.scheme, port) in (("http", 80), ("https", 443))
    return text == plain and bool(parts.hostname) and "@" not in text and not usual


Origins = Annotated[
    tuple[Annotated[str, AfterValidator(_check_origin)], ...],
    NoDecode,
    BeforeValidator(_split_list),
]
Key = Annotated[SecretStr, AfterValidator(_check_key)]
Keys = Annotated[tuple[Key, ...], NoDecode, BeforeValidator(_split_keys)]


class Settings(BaseSettings):
    """What can be set. Each description says what is right, and stands in error messages."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    base: str = Field(
        "minilm-l6-mlm",
        min_length=1,
        description="name of an embedded base, folder or hub id of a masked LM",
    )
    packs: PackPaths = Field(
        default_factory=shipped_packs,
        description="folders of mask packs, or names of shipped ones, separated by commas "
        "(default: conceptnet)",
    )
    knowledge: Paths = Field(
        default=(),
        description="files of known facts, .tsv, .csv or .jsonl, separated by commas (default: "
        "none)",
    )
    uploads: Path | None = Field(
        None,
        description="folder that uploaded masks are kept in (default: in memory alone)",
    )
    watch_seconds: float = Field(
        2.0,
        ge=0,
        le=86_400,
        description="seconds between looks at the folders of masks, 0 to look at the start alone",
    )
    max_mask_bytes: ByteSize = Field(
        ByteSize(64 * 2**20), ge=1024, description="largest mask file, at least 1KiB, e.g. 64MiB"
    )
    host: str = Field(
        "127.0.0.1", min_length=1, description="address to listen on, 0.0.0.0 for all"
    )
    port: int = Field(8000, ge=0, le=65535, description="port to listen on, 0 for any free one")
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
        description="auto, cpu, mps, cuda or cuda:N",
    )
    dtype: Dtype = Field(
        "auto",
        description="type that products are computed in: float32, bfloat16, int8 (on processors "
        "with AVX-512 VNNI), or auto for bfloat16 where the machine has matrix units for it",
    )
    threads: PositiveInt | None = Field(
        None, description="CPU threads of one forward pass, at least 1 (default: torch's choice)"
    )
    max_body_bytes: ByteSize = Field(
        ByteSize(2**20), ge=1024, description="largest request body, at least 1KiB, e.g. 1MiB"
    )
    max_queries: PositiveInt = Field(256, description="most queries of one request, at least 1")
    max_completions: PositiveInt = Field(
        100_000, description="most completions that one request may ask for, at least 1"
    )
    max_candidates: PositiveInt = Field(
        10_000_000,
        description="most candidates that one request may have ranked, over all its queries, at "
        "least 1",
    )
    token_budget: PositiveInt = Field(1024, description="tokens of one forward pass, at least 1")
    max_rows: PositiveInt = Field(
        8192, description="most sentences run through the model for one request, at least 1"
    )
    queue_size: PositiveInt = Field(
        1024, description="questions accepted and not yet answered, at least 1"
    )
    queue_rows: PositiveInt = Field(
        16384,
        description="sentences waiting for the model from which no question is accepted, at "
        "least 1",
    )
    request_timeout: PositiveFloat = Field(
        30.0, allow_inf_nan=False, description="seconds after which a request is given up, above 0"
    )
    max_request_timeout: PositiveFloat = Field(
        600.0,
        allow_inf_nan=False,
        description="most seconds that X-Request-Timeout may ask for, above 0",
    )
    mask_cache_bytes: ByteSize = Field(
        ByteSize(96 * 2**20),
        ge=0,
        description="memory for masked weights kept ready, e.g. 96MiB, 0 for none",
    )
    cache: CacheMode = Field(
        "auto",
        description="auto keeps answers in memory, and in Redis where its URL is set; off none",
    )
    cache_bytes: ByteSize = Field(
        ByteSize(64 * 2**20), ge=0, description="memory for answers, e.g. 64MiB, 0 for none"
    )
    cache_ttl: PositiveInt = Field(
        86_400,
        le=10 * 365 * 86_400,
        description="seconds that Redis keeps an answer, 1 to 315360000 (ten years)",
    )
    redis_url: RedisUrl | None = Field(
        None,
        description="redis://[user:password@]host[:port][/database], rediss:// for TLS, or "
        "unix:///path/of/socket",
    )
    redis_timeout: PositiveFloat = Field(
        0.05, le=10, description="most seconds that a request waits for Redis, above 0, at most 10"
    )
    api_key: Keys | None = Field(
        None,
        description="keys that questions are answered for, separated by commas, each at least "
        f"{_SHORTEST_KEY} characters without spaces (default: everybody is answered)",
    )
    admin_key: Key | None = Field(
        None,
        description="key for changing masks, good for questions too, at least "
        f"{_SHORTEST_KEY} characters without spaces (default: nobody may change them)",
    )
    cors_origins: Origins = Field(
        (),
        description="origins whose pages may ask, as browsers send them (no path, no default "
        "port), separated by commas, e.g. https://example.org, or * for all (default: none)",
    )
    drain_seconds: NonNegativeFloat = Field(
        1.0,
        le=300,
        description="seconds from SIGTERM for which the service still answers all, but is not "
        "ready, 0 to 300",
    )
    log_format: LogFormat = Field("text", description="text or json")
    log_level: LogLevel = Field("info", description="debug, info, warning or error")

    def public(self) -> dict[str, Any]:
        """The settings as JSON values, secrets hidden."""
        return self.model_dump(mode="json")

    @model_validator(mode="after")
    def _admin_key_is_another(self) -> Self:
        if self.admin_key is not None and self.admin_key in (self.api_key or ()):
            raise PydanticCustomError(
                "admin_key",
                "{prefix}ADMIN_KEY is one of {prefix}API_KEY; whoever may ask could change masks",
                {"prefix": PREFIX},
            )
        return self

    @model_validator(mode="after")
    def _timeout_may_be_asked_for(self) -> Self:
        if self.request_timeout > self.max_request_timeout:
            raise PydanticCustomError(
                "request_timeout",
                "{prefix}REQUEST_TIMEOUT is {usual}, but {prefix}MAX_REQUEST_TIMEOUT only "
                "{most}; what holds without X-Request-Timeout cannot be more than it may ask for",
                {
                    "prefix": PREFIX,
                    "usual": f"{self.request_timeout:g}",
                    "most": f"{self.max_request_timeout:g}",
                },
            )
        return self

    @model_validator(mode="after")
    def _queries_fit_the_queue(self) -> Self:
        if self.max_queries > self.queue_size:
            raise PydanticCustomError(
                "max_queries",
                "{prefix}MAX_QUERIES is {queries}, but {prefix}QUEUE_SIZE only {size}; a request "
                "of that many queries could never be accepted",
                {"prefix": PREFIX, "queries": self.max_queries, "size": self.queue_size},
            )
        return self


def load_settings(flags: Mapping[str, str | None] | None = None) -> Settings:
    """Settings from the environment; `flags` that are not None win over it.

    Raises:
        SettingsError: a value is wrong; the message names the variable and says what is right.
    """
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(detail) for detail in error.errors())) from error


def unknown_variables(environment: Iterable[str]) -> tuple[str, ...]:
    """Variables that look like settings but are none, sorted: most likely a slip of the pen."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    return tuple(
        sorted(name for name in environment if name.startswith(PREFIX) and name not in known)
    )


def _explain(detail: ErrorDetails) -> str:
    if not detail["loc"]:
        return detail["msg"]
    name = str(detail["loc"][0])
    field = Settings.model_fields.get(name)
    if field is None:
        return f"there is no setting {name!r}"
    if _is_secret(field.annotation):
        return (
            f"{PREFIX}{name.upper()} cannot be used: {detail['msg']}; right is: {field.description}"
        )
    return f"{PREFIX}{name.upper()} is {detail['input']!r:.160}; right is: {field.description}"


def _is_secret(annotation: object) -> bool:
    return annotation is SecretStr or any(map(_is_secret, get_args(annotation)))
