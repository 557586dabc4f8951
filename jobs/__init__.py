"""Jobs: what the product does by itself. Celery stands only here."""
