"""Weights that somebody has trained before: reading them, and what is new beside them."""
