"""The version of this service, as it tells it to clients."""

from typing import Final

VERSION: Final = "0.1.0"
