"""The Flask façade."""
