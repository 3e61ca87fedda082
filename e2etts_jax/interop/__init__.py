"""Weights of other projects in the layout of our models."""
