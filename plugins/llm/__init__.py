"""Plugins that read: language models that condense, structure, translate and write."""
