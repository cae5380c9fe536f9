"""Is this a valid NNAPI model, at which feature level, and why."""

from __future__ import annotations

from nnapi_lab.validate.check import Report, check, require_valid
from nnapi_lab.validate.levels import api_level_of, level_text

__all__ = ["Report", "api_level_of", "check", "level_text", "require_valid"]
