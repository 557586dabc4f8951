"""The `forecastle` command."""
