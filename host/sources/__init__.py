"""Where things come from."""
