"""Which part of a long document was scored, and the way from a query to its decisions.

Revision ID: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

CHECKS = {
    "starts_parallel": "cardinality(span_starts) = cardinality(candidate_texts)",
    "ends_parallel": "cardinality(span_ends) = cardinality(candidate_texts)",
    "span_both": "(span_starts IS NULL) = (span_ends IS NULL)",
}


def upgrade() -> None:
    for column in ("span_starts", "span_ends"):
        op.add_column("decisions", sa.Column(column, sa.ARRAY(sa.Integer)))
    for name, condition in CHECKS.items():
        op.create_check_constraint(op.f(f"decisions_{name}"), "decisions", condition)
    op.create_index(
        op.f("decisions_query_text_decision_id_idx"), "decisions", ["query_text", "decision_id"]
    )


def downgrade() -> None:
    op.drop_index(op.f("decisions_query_text_decision_id_idx"), "decisions")
    for column in ("span_starts", "span_ends"):
        op.drop_column("decisions", column)
