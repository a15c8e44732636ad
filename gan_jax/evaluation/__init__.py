"""Quality of samples: features, metrics, the evaluator of a run, rows of results."""

from gan_jax.evaluation.evaluator import Evaluator, format_metrics, make_evaluator

__all__ = ["Evaluator", "format_metrics", "make_evaluator"]
