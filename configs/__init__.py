"""Experiments: one file each, with `get_config`; reading one starts neither JAX nor cnn."""
