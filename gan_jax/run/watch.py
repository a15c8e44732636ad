"""Signs that a GAN has failed although its losses are finite: a saturated discriminator, samples that are nearly identical."""

from collections.abc import Mapping
from dataclasses import dataclass, field

_SATURATED_LOGIT = 8.0  # D is wrong once in 3,000, and the saturating loss has lost its gradient
_VALUE_NEAR_ZERO = -0.01  # V in nats: D separates real from fake


@dataclass(eq=False)
class Episode:
    """Steps, the first to the last, at all of which a symptom was seen."""

    symptom: str
    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.symptom}, steps {self.first} to {self.last}"


@dataclass
class CollapseWatch:
    """Report a symptom when it has lasted for `steps` steps; `episodes` holds those that were reported.

    diversity: samples count as collapsed below this fraction of the data's mean pairwise distance. stops: whether a reported
    symptom is to stop the run.
    """

    steps: int
    diversity: float
    stops: bool = False
    episodes: list[Episode] = field(default_factory=list)
    _current: dict[str, Episode] = field(default_factory=dict)

    def add_metrics(self, step: int, metrics: Mapping[str, float]) -> list[Episode]:
        """Check the metrics of a step; return the episodes that have just lasted long enough.

        Logits and V mean something only where D's output is a probability: the metrics then have "value".
        """
        if not {"value", "logits/real", "logits/fake"} <= metrics.keys():  # a row of a file may lack any
            return []
        saturated = min(metrics["logits/real"], -metrics["logits/fake"]) > _SATURATED_LOGIT
        return [
            *self._observe("saturated discriminator", step, saturated),
            *self._observe("V ≈ 0", step, metrics["value"] > _VALUE_NEAR_ZERO),
        ]

    def add_evaluation(self, step: int, metrics: Mapping[str, float]) -> list[Episode]:
        """Check the samples' mean pairwise distance, as a fraction of the data's, where it was measured."""
        diversity = metrics.get("samples/diversity")
        return [] if diversity is None else self._observe("nearly identical samples", step, diversity < self.diversity)

    @property
    def stop(self) -> bool:
        """Whether the run is to stop: a reported symptom lasts."""
        return self.stops and any(episode in self.episodes for episode in self._current.values())

    def _observe(self, symptom: str, step: int, present: bool) -> list[Episode]:
        if not present:
            self._current.pop(symptom, None)
            return []
        episode = self._current.setdefault(symptom, Episode(symptom, step, step))
        episode.last = step
        if step - episode.first + 1 < self.steps or episode in self.episodes:
            return []
        self.episodes.append(episode)
        return [episode]
