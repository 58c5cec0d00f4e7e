"""A round may end in a canary; what fails while one runs is remembered.

Revision ID: 0008
"""

from collections.abc import Iterable

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "failures",
        sa.Column("decision_id", sa.Uuid, primary_key=True),
        sa.Column("tenant", sa.Text, nullable=False, server_default=sa.text("'default'")),
        sa.Column("line", sa.Text, nullable=False, server_default=sa.text("'default'")),
        sa.Column("session_hash", sa.LargeBinary),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("arm", sa.Text, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.CheckConstraint(
            "arm IN ('champion', 'canary', 'pinned')", name=op.f("failures_arm_known")
        ),
    )
    op.create_index(op.f("failures_line_epoch_idx"), "failures", ["line", "epoch"])
    _allow(["running", "promoted", "canary", "rejected", "failed", "nothing_to_learn"])


def downgrade() -> None:
    op.execute("UPDATE training_runs SET status = 'rejected' WHERE status = 'canary'")
    _allow(["running", "promoted", "rejected", "failed", "nothing_to_learn"])
    op.drop_table("failures")


def _allow(statuses: Iterable[str]) -> None:
    listed = ", ".join(f"'{status}'" for status in statuses)
    op.drop_constraint(op.f("training_runs_status_known"), "training_runs")
    op.create_check_constraint(
        op.f("training_runs_status_known"), "training_runs", f"status IN ({listed})"
    )
