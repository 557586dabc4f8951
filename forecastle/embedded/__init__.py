"""The real servers that start by themselves when no URL is given; see `servers.py`."""
