"""Weights of other projects in the layout of our models, and ours in theirs."""
