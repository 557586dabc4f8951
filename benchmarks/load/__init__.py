"""Load on an HTTP server of this machine, and what it costs the server."""
