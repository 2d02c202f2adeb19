"""Plugins that look at pictures."""
