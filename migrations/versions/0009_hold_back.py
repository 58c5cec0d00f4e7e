"""The base of a line may answer a share of the units for good, beside every champion.

Revision ID: 0009
"""

from collections.abc import Iterable

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

ARMS = ("champion", "canary", "hold_back", "pinned")
ACTIONS = ("init", "promote", "rollback", "freeze", "unfreeze", "canary", "rebuild", "hold_back")
KINDS = ("offline", "replay", "parity", "golden", "canary", "hold_back")
RULES = {
    "hold_back_share_range": "hold_back_share BETWEEN 0 AND 1",
    "hold_back_both": "(hold_back_version IS NULL) = (hold_back_share = 0)",
    "shares_sum": "canary_share + hold_back_share <= 1",
}


def upgrade() -> None:
    op.add_column("promotions", sa.Column("hold_back_version", sa.Text))
    op.add_column(
        "promotions",
        sa.Column("hold_back_share", sa.Double, nullable=False, server_default=sa.text("0")),
    )
    op.create_foreign_key(
        op.f("promotions_hold_back_version_fkey"),
        *("promotions", "model_versions", ["hold_back_version"], ["version"]),
    )
    for name, condition in RULES.items():
        op.create_check_constraint(op.f(f"promotions_{name}"), "promotions", condition)
    _allow("decisions", "arm", ARMS)
    _allow("failures", "arm", ARMS)
    _allow("promotions", "action", ACTIONS)
    _allow("evaluations", "kind", KINDS)


def downgrade() -> None:
    """What the base answered stays told, and the rule of before would not allow it."""
    raise NotImplementedError("there is no way back")


def _allow(table: str, column: str, values: Iterable[str]) -> None:
    listed = ", ".join(f"'{value}'" for value in values)
    op.drop_constraint(op.f(f"{table}_{column}_known"), table)
    op.create_check_constraint(op.f(f"{table}_{column}_known"), table, f"{column} IN ({listed})")
