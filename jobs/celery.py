"""For Celery's own command, as in `celery -A jobs inspect active`; it reads the environment."""

from __future__ import annotations

from forecastle.settings import Settings
from jobs.app import create_app

app = create_app(Settings.from_env())
