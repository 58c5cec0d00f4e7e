"""What users have said of a model so far, a row of `evaluations` for each question: a look replaces the one before."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, func
from sqlalchemy.dialects.postgresql import insert

from contract.tables import evaluations
from trainer.canary import Arm
from trainer.gate import Answer

ESTIMATOR: Final = "confidence_sequence"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One answer with its evidence."""

    kind: str
    line: str
    version: str
    champion: str
    """What the version is compared with."""
    value: float
    low: float
    high: float
    alpha: float
    units: int
    answer: Answer
    reason: str
    detail: Mapping[str, Any]


def store(connection: Connection, look: Look, *, evaluation_id: UUID) -> None:
    """Bounds that are not known yet are left out."""
    bounds = (look.value, look.low, look.high)
    estimate, low, high = bounds if all(map(isfinite, bounds)) else (None, None, None)
    values = {
        "evaluation_id": evaluation_id,
        "line": look.line,
        "version": look.version,
        "champion": look.champion,
        "kind": look.kind,
        "estimator": ESTIMATOR,
        "estimate": estimate,
        "low": low,
        "high": high,
        "alpha": look.alpha,
        "clusters": look.units,
        "verdict": look.answer.value,
        "reason": look.reason,
        "detail": look.detail,
        "created_at": func.now(),
    }
    statement = insert(evaluations).values(values)
    connection.execute(
        statement.on_conflict_do_update(index_elements=["evaluation_id"], set_=values)
    )


def sums(arm: Arm, *measures: str) -> dict[str, Any]:
    """What is known of an arm."""
    return {
        measure: {
            part: float(getattr(getattr(arm, measure), part))
            for part in ("count", "total", "squares")
        }
        for measure in measures
    }
