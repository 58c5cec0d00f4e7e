"""Whether the service may be opened to others: where none of them could hold a key, it does not start."""

import logging

from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError

from contract.refusals import Refusal
from service import key_table
from service.settings import ServiceSettings

logger = logging.getLogger(__name__)

_CONNECT_S = 5


class NoKeys(Refusal):
    """Others can reach this address, and there is no key by which to let them in."""


def refuse_without_keys(settings: ServiceSettings) -> None:
    """Raises `NoKeys`. Where the database is away the start goes on: nobody is let in before it is back."""
    if settings.is_private or not settings.keys_required:
        return
    engine = create_engine(
        settings.database_url, connect_args={"connect_timeout": _CONNECT_S}, hide_parameters=True
    )
    try:
        with engine.connect() as connection:
            first = connection.execute(key_table.usable().limit(1)).first()
    except SQLAlchemyError as error:
        logger.warning("keys.not_read error=%s", type(error).__name__)
        return
    finally:
        engine.dispose()
    if first is None:
        raise NoKeys(
            f"{settings.service_host} can be reached by others, and there is no API key. Make one:"
            " rankloop keys create --scope rerank. Or let everybody in on purpose:"
            " RANKLOOP_SERVICE_REQUIRE_KEYS=false"
        )
