"""Clusters: what arrived in groups of the like, each with a name that stays."""

from host.clustering.clusters import Clusters

__all__ = ["Clusters"]
