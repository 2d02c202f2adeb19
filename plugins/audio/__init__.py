"""Plugins that listen to recordings."""
