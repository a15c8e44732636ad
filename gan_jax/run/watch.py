"""Names for the ways in which a GAN fails while its losses stay finite: a D that is sure, and samples that are all alike."""

from collections.abc import Mapping
from dataclasses import dataclass, field

_SURE = 8.0  # of logits: D is wrong once in 3,000, and the saturating loss has lost its gradient
_STUCK = -0.01  # of V, in nats: D separates real from fake


@dataclass(eq=False)
class Episode:
    """Steps, the first to the last, throughout which a symptom held."""

    symptom: str
    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.symptom}, steps {self.first} to {self.last}"


@dataclass
class CollapseWatch:
    """Names a symptom when it has held for `steps` steps in a row; `episodes` keeps those that were named.

    diversity: samples count as collapsed below this share of the data's mean pairwise distance. stops: what it names is to
    stop the run.
    """

    steps: int
    diversity: float
    stops: bool = False
    episodes: list[Episode] = field(default_factory=list)
    _held: dict[str, Episode] = field(default_factory=dict)

    def metrics(self, step: int, metrics: Mapping[str, float]) -> list[Episode]:
        """Look at the metrics of a step; the episodes that have just become long enough."""
        saturated = min(metrics["logits/real"], -metrics["logits/fake"]) > _SURE
        return [
            *self._observe("D's logits are saturated", step, saturated),
            *self._observe("V is stuck at 0", step, metrics["value"] > _STUCK),
        ]

    def samples(self, step: int, diversity: float) -> list[Episode]:
        """Look at the samples' mean pairwise distance, as a share of the data's."""
        return self._observe("the samples are nearly identical", step, diversity < self.diversity)

    @property
    def stop(self) -> bool:
        """Whether the run is to stop: something that was named still holds."""
        return self.stops and any(episode in self.episodes for episode in self._held.values())

    def _observe(self, symptom: str, step: int, holds: bool) -> list[Episode]:
        if not holds:
            self._held.pop(symptom, None)
            return []
        episode = self._held.setdefault(symptom, Episode(symptom, step, step))
        episode.last = step
        if step - episode.first + 1 < self.steps or episode in self.episodes:
            return []
        self.episodes.append(episode)
        return [episode]
