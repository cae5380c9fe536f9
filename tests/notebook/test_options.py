from __future__ import annotations

import pytest

import nnapi_lab
from nnapi_lab.notebook.options import MODES, VARIABLE, Options


def test_auto_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert Options().display == "auto"


@pytest.mark.parametrize("mode", MODES)
def test_the_environment_decides_until_one_is_set(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setenv(VARIABLE, mode.upper())
    options = Options()
    assert options.display == mode
    options.display = "text"
    assert options.display == "text"


def test_unknown_modes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    options = Options()
    with pytest.raises(ValueError, match=r"'jpeg'; it is one of auto, widget, static, svg, text"):
        options.display = "jpeg"  # type: ignore[assignment]
    monkeypatch.setenv(VARIABLE, "jpeg")
    with pytest.raises(ValueError, match=r"NNAPI_LAB_DISPLAY is 'jpeg'"):
        _ = options.display


def test_the_front_door_shows_them() -> None:
    assert isinstance(nnapi_lab.options, Options)
