"""Which events are nearest to a vector. The vectors live in the journal; all files here are caches of it."""

from host.search.search import Neighbour, Search

__all__ = ["Neighbour", "Search"]
