"""Fixtures that every test may ask for."""

from tests.plugin_kit import plugin_path

__all__ = ["plugin_path"]
