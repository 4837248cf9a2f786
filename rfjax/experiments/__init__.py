"""Experiments: each a frozen dataclass of settings and a function that runs them."""
