"""The whole schema of the loop.

Revision ID: 0001
"""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    here = Path(__file__)
    for name in ("0001_loop.sql", "0001_loop_functions.sql"):
        # Without parameters the driver sends the text as it is: several statements, and % means %.
        op.get_bind().exec_driver_sql(
            here.with_name(name).read_text("utf-8"), execution_options={"no_parameters": True}
        )


def downgrade() -> None:
    """There is nothing before the first revision."""
    raise NotImplementedError("drop the database instead")
