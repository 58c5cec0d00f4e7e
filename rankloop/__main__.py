"""`python -m rankloop` is `rankloop`."""

from rankloop.cli import app

app()
