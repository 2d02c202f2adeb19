"""The built-in plugins: each a module that the entry points of `pyproject.toml` name, on the contract in `hooks`."""
