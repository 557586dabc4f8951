"""Questions about issue trackers."""
