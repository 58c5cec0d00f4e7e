"""The hand-written material of the handbook, as values."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

MATERIAL: Final = Path(__file__).parent / "material"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One kind of rule of a department: how it is stated, how it was stated, how it is asked."""

    values: tuple[str, ...]
    says: tuple[str, ...]
    said: tuple[str, ...]
    asks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Department:
    """The hand-written material of one chapter of the handbook."""

    name: str
    subjects: tuple[str, ...]
    fillers: tuple[str, ...]
    facts: tuple[Fact, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way of showing that a text is superseded, and its counterparts in current texts."""

    name: str
    only_held_out: bool
    old: "Marks"
    new: "Marks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """What may stand before and after a text."""

    banners: tuple[str, ...]
    footers: tuple[str, ...]


def departments() -> list[Department]:
    """Read every chapter's material, in the order of their file names."""
    units = _toml(MATERIAL / "values.toml")
    chapters = sorted((MATERIAL / "departments").glob("*.toml"))
    return [_department(_toml(path), units) for path in chapters]


def _department(raw: dict[str, object], units: dict[str, object]) -> Department:
    return Department(
        name=str(raw["department"]),
        subjects=_strings(raw["subjects"]),
        fillers=_strings(raw["fillers"]),
        facts=tuple(_fact(fact, units) for fact in cast("list[dict[str, object]]", raw["fact"])),
    )


def _fact(raw: dict[str, object], units: dict[str, object]) -> Fact:
    kind = cast("dict[str, object]", units[str(raw["value"])])
    return Fact(
        values=tuple(f"{n} {kind['unit']}" for n in cast("list[int]", kind["numbers"])),
        says=_strings(raw["says"]),
        said=_strings(raw["said"]),
        asks=_strings(raw["asks"]),
    )


def ways() -> list[Way]:
    """Read every way of showing that a text is superseded."""
    raw_ways = cast("list[dict[str, object]]", _toml(MATERIAL / "markers.toml")["way"])
    return [
        Way(
            name=str(raw["name"]),
            only_held_out=bool(raw.get("only_held_out", False)),
            old=_marks(raw, "old"),
            new=_marks(raw, "new"),
        )
        for raw in raw_ways
    ]


def _marks(raw: dict[str, object], side: str) -> Marks:
    return Marks(banners=_strings(raw[f"{side}_banners"]), footers=_strings(raw[f"{side}_footers"]))


def _toml(path: Path) -> dict[str, object]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _strings(value: object) -> tuple[str, ...]:
    return tuple(cast("list[str]", value))
