"""Rivals run in turns, and ratios are taken within a round."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import timing
from benchmarks.timing import Race, race

ROOT = Path(__file__).resolve().parents[2]


def test_every_round_runs_every_rival_once_and_the_start_moves_on() -> None:
    calls: list[str] = []
    found = race("title", {name: lambda name=name: calls.append(name) for name in "abc"}, rounds=3)
    warm, rounds = calls[:3], calls[3:]
    assert warm == ["a", "b", "c"]
    assert ["".join(rounds[at : at + 3]) for at in (0, 3, 6)] == ["abc", "bca", "cab"]
    assert {name: len(times) for name, times in found.seconds.items()} == {"a": 3, "b": 3, "c": 3}


def test_ratios_are_medians_of_ratios_within_a_round() -> None:
    # A busy moment in round 2 slows both: the ratio of medians would be 3 / 2, each round says 1.5 or 2 or 1.5.
    found = Race("title", {"theirs": (2.0, 20.0, 2.0), "ours": (3.0, 40.0, 3.0)})
    assert found.ratios == {"theirs": 1.0, "ours": 1.5}
    assert found.medians == {"theirs": 2.0, "ours": 3.0}


def test_the_clock_is_read_around_the_rival_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(100))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: float(next(ticks)))
    assert race("title", {"a": lambda: None}, rounds=2).seconds == {"a": (1.0, 1.0)}


def test_garbage_collection_is_put_back_also_after_a_failure() -> None:
    runs = iter((True, False))

    def fails_when_timed() -> None:
        if not next(runs):
            assert not gc.isenabled()
            raise RuntimeError("slow path missing")

    with pytest.raises(RuntimeError, match="slow path missing"):
        race("title", {"a": fails_when_timed}, rounds=1)
    assert gc.isenabled()


def test_a_race_reads_as_a_table() -> None:
    text = str(Race("lowering", {"theirs": (0.002,), "ours": (0.003,)}, "one thread")).splitlines()
    assert text[0] == "lowering"
    assert text[2].split() == ["theirs", "2.0", "ms", "2.0", "ms", "1.00"]
    assert text[3].split() == ["ours", "3.0", "ms", "3.0", "ms", "1.50"]
    assert text[4].strip() == "one thread"


def test_what_is_asked_wrongly_is_told() -> None:
    for arguments in (["speed"], ["--rounds", "0"]):
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks", *arguments], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 2
        assert "Traceback" not in done.stderr


def test_one_round_of_lowering_as_json() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "lowering", "--rounds", "1", "--json"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)["results"]
    assert [one["title"] for one in found] == [f"lowering MobileNetV2 {kind} 224×224" for kind in ("float32", "int8")]
    for one in found:
        assert set(one["ratios"]) == {"torch convert_model_to_nnapi", "nnapi_lab lower", "nnapi_lab lower + encode"}
        assert all(seconds > 0 for seconds in one["median_seconds"].values())
