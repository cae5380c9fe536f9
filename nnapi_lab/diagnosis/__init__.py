"""Everything that stands between a model and NNAPI, at once: why, where, how much, and what to do."""

from nnapi_lab.diagnosis.diagnose import Diagnosis, LevelVerdict, Obstacle, Segment, diagnose

__all__ = ["Diagnosis", "LevelVerdict", "Obstacle", "Segment", "diagnose"]
