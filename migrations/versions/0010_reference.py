"""An answer may come with the right one, where somebody knows it.

Revision ID: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("answers", sa.Column("reference_text", sa.BigInteger))


def downgrade() -> None:
    op.drop_column("answers", "reference_text")
