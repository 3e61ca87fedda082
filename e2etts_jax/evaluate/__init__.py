"""Judging what the models say: recognisers, one canonical form of text, token statistics and the report."""
