"""What every room of Forecastle stands on; knows neither Flask nor Celery."""

__version__ = "0.1.0"
