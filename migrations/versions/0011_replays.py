"""Answers that are made again, from another order of the documents.

Revision ID: 0011
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from contract.columns import Xid8

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

RULES = {
    "purpose_known": "purpose IN ('leave_one_out', 'reference', 'pair')",
    "pair_of_two": "(purpose = 'pair') = (against IS NOT NULL)",
    "value_share": "value BETWEEN 0 AND 1",
    "value_is_the_end": "value IS NULL OR done_at IS NOT NULL",
    "end_in_a_transaction": "(done_at IS NULL) = (done_xid IS NULL)",
    "attempts_not_negative": "attempts >= 0",
}
WAITING = {
    "replays_pairs_waiting": "purpose = 'pair'",
    "replays_waiting": "purpose <> 'pair'",
}


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "replays",
        sa.Column("replay_id", sa.Uuid, primary_key=True),
        sa.Column("tenant", sa.Text, nullable=False, server_default=sa.text("'default'")),
        sa.Column("line", sa.Text, nullable=False, server_default=sa.text("'default'")),
        sa.Column("decision_id", sa.Uuid, nullable=False),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("used", ARRAY(sa.SmallInteger), nullable=False),
        sa.Column("against", ARRAY(sa.SmallInteger)),
        sa.Column("run_id", sa.Uuid),
        sa.Column("asked_at", moment, nullable=False, server_default=sa.func.now()),
        sa.Column("lease_id", sa.Uuid),
        sa.Column("expires_at", moment),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("value", sa.Double),
        sa.Column("error", sa.Text),
        sa.Column("judge", JSONB),
        sa.Column("done_at", moment),
        sa.Column("done_xid", Xid8()),
        *(sa.CheckConstraint(rule, name=op.f(f"replays_{name}")) for name, rule in RULES.items()),
        sa.UniqueConstraint(
            *("decision_id", "purpose", "used", "against"),
            name=op.f("replays_asked_once"),
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_index(op.f("replays_lease_id_idx"), "replays", ["lease_id"])
    op.create_index(op.f("replays_run_id_idx"), "replays", ["run_id"])
    for name, which in WAITING.items():
        op.create_index(
            op.f(name),
            *("replays", ["tenant", "asked_at", "replay_id"]),
            postgresql_where=sa.text(f"done_at IS NULL AND {which}"),
        )


def downgrade() -> None:
    op.drop_table("replays")
