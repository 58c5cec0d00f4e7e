"""A verdict may come from a reader that was asked again.

Revision ID: 0004
"""

from collections.abc import Iterable

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _allow(["offline", "replay", "parity", "golden", "canary"])


def downgrade() -> None:
    op.execute("DELETE FROM evaluations WHERE kind = 'replay'")
    _allow(["offline", "parity", "golden", "canary"])


def _allow(kinds: Iterable[str]) -> None:
    listed = ", ".join(f"'{kind}'" for kind in kinds)
    op.drop_constraint(op.f("evaluations_kind_known"), "evaluations")
    op.create_check_constraint(op.f("evaluations_kind_known"), "evaluations", f"kind IN ({listed})")
