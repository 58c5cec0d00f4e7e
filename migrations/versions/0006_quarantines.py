"""Sources that are not heard: every quarantine and every lifting of one is a row, and stays.

Revision ID: 0006
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE quarantines (
          quarantine_id bigint GENERATED ALWAYS AS IDENTITY,
          tenant text NOT NULL DEFAULT 'default',
          source_type text NOT NULL,
          source_id text NOT NULL,
          quarantined boolean NOT NULL,
          since timestamptz,
          actor text NOT NULL,
          reason text NOT NULL,
          created_at timestamptz NOT NULL DEFAULT now(),
          CONSTRAINT quarantines_pkey PRIMARY KEY (quarantine_id),
          CONSTRAINT quarantines_source_type_known
            CHECK (source_type IN ('HUMAN', 'END_USER', 'LLM_JUDGE', 'CODE'))
        );
        CREATE INDEX quarantines_tenant_source_type_source_id_quarantine_id_idx
          ON quarantines (tenant, source_type, source_id, quarantine_id);
        CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON quarantines
        FOR EACH ROW EXECUTE FUNCTION refuse_change()
        """
    )


def downgrade() -> None:
    op.drop_table("quarantines")
