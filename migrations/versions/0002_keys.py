"""Keys have a name, may expire, and know which key they followed.

Revision ID: 0002
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE api_keys
          ADD COLUMN name text,
          ADD COLUMN expires_at timestamptz,
          ADD COLUMN rotated_from text,
          ADD CONSTRAINT api_keys_rotated_from_fkey FOREIGN KEY (rotated_from) REFERENCES api_keys (key_id),
          ADD CONSTRAINT api_keys_scopes_some CHECK (cardinality(scopes) >= 1),
          ADD CONSTRAINT api_keys_secret_hmac_size CHECK (octet_length(secret_hmac) = 32)
        """
    )


def downgrade() -> None:
    """Keys that have expired would work again."""
    raise NotImplementedError("there is no way back")
