"""A line may begin again at its base.

Revision ID: 0007
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

ACTIONS = ("init", "promote", "rollback", "freeze", "unfreeze", "canary", "rebuild")


def upgrade() -> None:
    listed = ", ".join(f"'{action}'" for action in ACTIONS)
    op.drop_constraint(op.f("promotions_action_known"), "promotions")
    op.create_check_constraint(
        op.f("promotions_action_known"), "promotions", f"action IN ({listed})"
    )


def downgrade() -> None:
    """What was rebuilt stays told, and the rule of before would not allow it."""
    raise NotImplementedError("there is no way back")
