"""Metrics of samples: arrays in, numbers out."""

from gan_jax.evaluation.metrics.classes import ClassStatistics, class_statistics
from gan_jax.evaluation.metrics.distances import Neighbours, mean_pairwise_distance, nearest_neighbours
from gan_jax.evaluation.metrics.frechet import Moments, frechet_distance, merge, moments
from gan_jax.evaluation.metrics.kid import KernelDistance, kernel_distance
from gan_jax.evaluation.metrics.labels import class_coverages, class_frechet_distances, label_accuracy
from gan_jax.evaluation.metrics.modes import ModeStatistics, mode_statistics
from gan_jax.evaluation.metrics.parzen import Parzen, parzen_log_likelihood
from gan_jax.evaluation.metrics.precision_recall import PrecisionRecall, precision_recall
from gan_jax.evaluation.metrics.registry import (
    METRICS,
    Metric,
    Statistics,
    check_num,
    compute_metrics,
    fewest_of_a_class,
    find_metrics,
    is_of_one_class,
    needed,
)
from gan_jax.evaluation.metrics.stacks import StackStatistics, perfect_stacks, stack_statistics

__all__ = [
    "METRICS",
    "ClassStatistics",
    "KernelDistance",
    "Metric",
    "ModeStatistics",
    "Moments",
    "Neighbours",
    "Parzen",
    "PrecisionRecall",
    "StackStatistics",
    "Statistics",
    "check_num",
    "class_coverages",
    "class_frechet_distances",
    "class_statistics",
    "compute_metrics",
    "fewest_of_a_class",
    "find_metrics",
    "frechet_distance",
    "is_of_one_class",
    "kernel_distance",
    "label_accuracy",
    "mean_pairwise_distance",
    "merge",
    "mode_statistics",
    "moments",
    "nearest_neighbours",
    "needed",
    "parzen_log_likelihood",
    "perfect_stacks",
    "precision_recall",
    "stack_statistics",
]
