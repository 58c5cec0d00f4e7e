"""How likely it was that a reward would be observed at all.

Revision ID: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("rewards", sa.Column("observation", sa.Double))
    op.create_check_constraint(
        op.f("rewards_observation_probability"),
        "rewards",
        "observation > 0 AND observation <= 1",
    )


def downgrade() -> None:
    op.drop_column("rewards", "observation")
