"""The quality of samples: images -> features -> metrics; the evaluator of a run, and rows of results with their provenance."""

from gan_jax.evaluation.evaluator import Evaluator, make_evaluator
from gan_jax.evaluation.results import format_metrics

__all__ = ["Evaluator", "format_metrics", "make_evaluator"]
