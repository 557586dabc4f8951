"""Questions about running software."""
