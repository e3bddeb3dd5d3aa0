"""Pairs of words from all sources, expanded by negation."""

from dskd_core.relations.tables import ORIGINS, PAIRS, build_relations

__all__ = ["ORIGINS", "PAIRS", "build_relations"]
