"""Plugins that speak texts."""
