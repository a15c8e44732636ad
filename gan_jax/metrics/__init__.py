"""Measures of samples: arrays in, numbers out."""

from gan_jax.metrics.modes import ModeStatistics, mode_statistics

__all__ = ["ModeStatistics", "mode_statistics"]
