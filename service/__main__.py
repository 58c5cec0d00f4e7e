"""`python -m service`: the service as one process."""

import logging
import sys
from typing import Final

import uvicorn

from service import guard
from service.app import create_app
from service.connection import Connection
from service.guard import NoKeys
from service.settings import ServiceSettings

_GRACE_S: Final = 30
"""How long requests that have begun may take once the service is told to stop."""


def main() -> None:
    """Serves until SIGTERM or Ctrl-C, then finishes what it has begun."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    settings = ServiceSettings()
    try:
        guard.refuse_without_keys(settings)
    except NoKeys as refusal:
        sys.exit(str(refusal))
    uvicorn.run(
        create_app(settings),
        host=settings.service_host,
        port=settings.service_port,
        http=Connection,
        ws="none",
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=_GRACE_S,
    )


if __name__ == "__main__":
    main()
