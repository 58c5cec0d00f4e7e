"""Keys for tests: made as `rankloop keys` makes them, sent as clients do."""

from datetime import timedelta

from sqlalchemy import Engine

from service import key_table
from service.key_table import Purpose
from service.keys import ApiKey
from tests.serving import SECRET

PEPPER = SECRET.encode()


def make(
    engine: Engine, *scopes: str, tenant: str = "acme", lifetime: timedelta | None = None
) -> ApiKey:
    purpose = Purpose(tenant=tenant, scopes=scopes, lifetime=lifetime)
    with engine.begin() as connection:
        return key_table.create(connection, purpose, pepper=PEPPER)


def rotate(engine: Engine, key: ApiKey, *, grace: timedelta) -> ApiKey:
    with engine.begin() as connection:
        return key_table.rotate(connection, key.key_id, grace=grace, pepper=PEPPER)


def revoke(engine: Engine, key: ApiKey) -> None:
    with engine.begin() as connection:
        key_table.revoke(connection, key.key_id)


def header(key: ApiKey | str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key.text if isinstance(key, ApiKey) else key}"}
