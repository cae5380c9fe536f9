"""Where a TorchScript node was written: module path and the user's own Python line."""

from __future__ import annotations

import os
import re
from functools import lru_cache

import torch

_TRACED_FRAME = re.compile(r"^(?P<file>.+)\((?P<line>\d+)\): (?P<function>.+)$")
_SCRIPTED_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')
TORCH_HOME = os.path.dirname(os.path.abspath(torch.__file__)) + os.sep
OUR_HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


@lru_cache(maxsize=65536)
def python_line(source_range: str) -> str:
    """The innermost frame that is the user's: "model.py:42"; "" when all frames are torch's or ours."""
    for text in source_range.splitlines():
        match = _TRACED_FRAME.match(text) or _SCRIPTED_FRAME.search(text)
        if match is None:
            continue
        file = match["file"]
        if file.startswith((TORCH_HOME, OUR_HOME, "<")) or ("/torch/" in file and file.startswith("code/")):
            continue
        return f"{os.path.basename(file)}:{match['line']}"
    return ""


@lru_cache(maxsize=65536)
def module_path(scope: str) -> str:
    """The module path in a traced scope name: "__module.features/__module.features.0" → "features.0"."""
    last = scope.rsplit("/", 1)[-1]
    return last.removeprefix("__module.").removeprefix("__module")
