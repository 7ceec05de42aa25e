"""`python -m npcserver`."""

from npcserver.cli import app

app()
