"""What may be fetched from outside: the model of `shoal/artifacts.toml`, checked with all its faults at once."""

from __future__ import annotations

import tomllib
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from shoal.errors import Fault, UsageError

CATALOGUE = Path(__file__).resolve().parent.parent / "artifacts.toml"

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{0,63}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Package = Annotated[str, StringConstraints(pattern=r"^(@[a-z0-9][a-z0-9._-]*/)?[A-Za-z0-9][A-Za-z0-9._+-]*$")]
"""Becomes an argument of a registry's client: it cannot start with a dash or hold an address."""
Version = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+:~-]*$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][^/\x00]*$")]
Text = Annotated[str, StringConstraints(min_length=1)]
Arch = Literal["any", "amd64", "arm64"]

_T = TypeVar("_T")


def _for_any(value: object) -> object:
    return value if isinstance(value, dict) else {"any": value}


PerArch = Annotated[dict[Arch, _T], BeforeValidator(_for_any)]
"""One value for every machine, or a table of one per architecture."""


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Npm(_Document):
    """A package of the npm registry, taken as the file that `npm pack` gives."""

    kind: Literal["npm"]
    package: Package


class PypiWheel(_Document):
    """A wheel, downloaded as a file and only unzipped, never installed."""

    kind: Literal["pypi-wheel"]
    package: Package


class PypiSdist(_Document):
    """A source archive, taken as a file: nothing of it is run, its build backend neither."""

    kind: Literal["pypi-sdist"]
    package: Package


class Deb(_Document):
    """A Debian package, read and not installed."""

    kind: Literal["deb"]
    package: Package


class Url(_Document):
    """A file at a fixed address, e.g. of a project's release page."""

    kind: Literal["url"]
    url: PerArch[Text]


Source = Annotated[Npm | PypiWheel | PypiSdist | Deb | Url, Field(discriminator="kind")]


class Artifact(_Document):
    """One file from outside."""

    purpose: Text
    version: Version
    source: Source
    member: Text | None = None
    """Path of the wanted file inside the package; without it the package file itself is kept."""
    file: FileName | None = None
    """Name under which it is kept; the member's own name unless given."""
    archive_sha256: Sha256 | None = None
    sha256: PerArch[Sha256]
    size_bytes: PerArch[Annotated[int, Field(gt=0)]]
    licence: Text
    instead: str = ""
    """What a person can do where it cannot be had."""

    @model_validator(mode="after")
    def _consistent(self) -> Artifact:
        kind = self.source.kind
        if self.member is None and self.file is None:
            raise ValueError("needs `file` where no `member` is named")
        if self.member is not None and (self.member.startswith("/") or ".." in PurePosixPath(self.member).parts):
            raise ValueError("`member` is a relative path inside the package")
        if kind == "deb" and self.member is None:
            raise ValueError("a deb needs `member`: mirrors rebuild packages, only a file within has a fixed hash")
        if kind.startswith("pypi") and (self.archive_sha256 is None or self.member is None):
            raise ValueError("a PyPI package needs `member` and `archive_sha256`; pip checks it before reading it")
        addresses = self.source.url if isinstance(self.source, Url) else self.sha256
        if not set(self.sha256) == set(self.size_bytes) == set(addresses):
            raise ValueError("`sha256`, `size_bytes` and `source.url` name different architectures")
        return self

    @property
    def file_name(self) -> str:
        """The name of the kept file."""
        return self.file or PurePosixPath(self.member or "").name

    def arch_for(self, arch: str) -> Arch:
        """`arch` itself, or `any` where one file serves every machine. UsageError where there is no file for it."""
        if "any" in self.sha256:
            return "any"
        for known in self.sha256:
            if known == arch:
                return known
        raise UsageError(f"there is no file of {self.file_name} for {arch}", hint=f"known: {', '.join(self.sha256)}")


class Derived(_Document):
    """A file that is made here from an artefact; `sha256` and `size_bytes` are informative, not enforced."""

    made_from: Name
    sha256: Sha256
    size_bytes: Annotated[int, Field(gt=0)]


class Catalogue(_Document):
    """The whole document."""

    schema_version: Literal[1]
    artifact: dict[Name, Artifact]
    derived: dict[Name, Derived] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _closed(self) -> Catalogue:
        unknown = [
            f"{name} from {derived.made_from}"
            for name, derived in self.derived.items()
            if derived.made_from not in self.artifact
        ]
        if unknown:
            raise ValueError(f"derived files made from unknown artefacts: {', '.join(unknown)}")
        return self

    def get(self, name: str) -> Artifact:
        """The artefact of that name, or UsageError with the known names."""
        try:
            return self.artifact[name]
        except KeyError:
            raise UsageError(f"there is no artefact {name!r}", hint=f"known: {', '.join(self.artifact)}") from None

    def siblings(self, name: str) -> list[str]:
        """Artefacts that lie in the same package file, `name` among them: one download serves them all."""
        wanted = self.get(name)
        return [
            other
            for other, artifact in self.artifact.items()
            if (artifact.source, artifact.version) == (wanted.source, wanted.version)
        ]


def parse(text: str, *, source: str) -> Catalogue:
    """The catalogue in TOML `text`, or UsageError with every fault and its path. `source` names the file."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{source} is not TOML: {error}") from None
    try:
        return Catalogue.model_validate(raw)
    except ValidationError as error:
        faults = [Fault(_path(entry["loc"]), entry["msg"]) for entry in error.errors(include_url=False)]
        count = f"{len(faults)} fault{'s' if len(faults) != 1 else ''}"
        raise UsageError(f"{source} is not a valid catalogue of artefacts ({count})", faults=tuple(faults)) from None


def load_catalogue(path: Path = CATALOGUE) -> Catalogue:
    """The catalogue at `path`, by default the one that comes with shoal. UsageError with all its faults."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the catalogue of artefacts at {path} cannot be read: {error}") from None
    return parse(text, source=str(path))


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location if part != "[key]") or "document"
