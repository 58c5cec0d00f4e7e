"""`python -m migrations`: bring the database of RANKLOOP_DATABASE_URL up to date."""

import os
import sys

from migrations import upgrade


def main() -> int:
    url = os.environ.get("RANKLOOP_DATABASE_URL")
    if not url:
        sys.stderr.write(
            "RANKLOOP_DATABASE_URL says which database to migrate, and it is not set\n"
        )
        return 2
    upgrade(url)
    return 0


if __name__ == "__main__":
    sys.exit(main())
