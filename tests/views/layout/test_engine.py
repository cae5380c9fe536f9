"""Laws of the layout, held by both engines on graphs that hypothesis draws."""

from __future__ import annotations

import shutil
import time
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnapi_lab.views.layout import dot, engine
from nnapi_lab.views.layout.bundles import bundle
from nnapi_lab.views.layout.engine import lay_out, lay_out_level
from nnapi_lab.views.layout.plane import Plane, Sketch, mirrored
from nnapi_lab.views.layout.strips import cut, reading_order

ENGINES = [
    "builtin",
    pytest.param("dot", marks=pytest.mark.skipif(shutil.which("dot") is None, reason="no dot installed")),
]


@st.composite
def sketches(draw: st.DrawFn, most: int = 24) -> Sketch:
    """Acyclic graphs of boxes; some sources are constants, edges may be doubled."""
    count = draw(st.integers(1, most))
    sizes = draw(
        st.lists(st.tuples(st.integers(20, 240), st.integers(20, 90)), min_size=count, max_size=count).map(tuple)
    )
    pairs = [(a, b) for a in range(count) for b in range(a + 1, min(a + 9, count))]
    edges = tuple(draw(st.lists(st.sampled_from(pairs), max_size=2 * count))) if pairs else ()
    fed = {dst for _, dst in edges}
    free = [node for node in range(count) if node not in fed]
    constants = frozenset(draw(st.lists(st.sampled_from(free)))) if free else frozenset()
    return Sketch(sizes, edges, constants)


def chain(count: int, skip: int = 0) -> Sketch:
    edges = [(n, n + 1) for n in range(count - 1)]
    edges += [(n, n + skip) for n in range(0, count - skip, skip)] if skip else []
    return Sketch(((120, 40),) * count, tuple(edges))


def check(sketch: Sketch, plane: Plane) -> None:
    """Every box inside the plane and at its size, no two overlapping, edges downward and ending at their nodes."""
    assert len(plane.boxes) == len(sketch.sizes)
    for box, (w, h) in zip(plane.boxes, sketch.sizes, strict=True):
        assert (box.w, box.h) == (w, h)
        assert box.x >= 0
        assert box.y >= 0
        assert box.x + box.w <= plane.width
        assert box.bottom <= plane.height
    assert not [pair for pair in combinations(plane.boxes, 2) if pair[0].meets(pair[1])]
    held = bundle(sketch)
    for (src, dst), route in zip(sketch.edges, plane.routes, strict=True):
        assert len(route) % 3 == 1
        source, target = plane.boxes[src], plane.boxes[dst]
        if held.home[src] == held.home[dst]:  # a constant beside its reader
            assert route[0] == (source.x, source.cy)
            assert route[-1] == (target.x + target.w, target.cy)
            continue
        assert route[0] == pytest.approx((source.cx, source.bottom))
        assert route[-1] == pytest.approx((target.cx, target.y))
        assert route[0][1] < route[-1][1]
        ends = route[::3]
        assert all(below[1] - above[1] > -1e-6 for above, below in pairwise(ends))


@pytest.mark.parametrize("name", ENGINES)
def test_laws_hold_on_drawn_graphs(name: engine.Engine) -> None:
    @settings(max_examples=60 if name == "builtin" else 25)
    @given(sketches())
    def holds(sketch: Sketch) -> None:
        check(sketch, lay_out(sketch, name, limit=8))

    holds()


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize(
    "sketch",
    [
        pytest.param(Sketch(((50, 20),), ()), id="one node"),
        pytest.param(Sketch(((50, 20),) * 3, ()), id="no edges"),
        pytest.param(Sketch(((50, 20),) * 2, ((0, 1), (0, 1))), id="twice the same edge"),
        pytest.param(chain(700, skip=3), id="longer than a strip"),
        pytest.param(
            Sketch(((90, 30),) * 9, tuple((n, 8) for n in range(8)), frozenset(range(1, 8))), id="seven constants"
        ),
        pytest.param(Sketch(((90, 30),) * 4, ((0, 1), (3, 1), (1, 2), (3, 2)), frozenset({3})), id="shared constant"),
    ],
)
def test_laws_hold(name: engine.Engine, sketch: Sketch) -> None:
    check(sketch, lay_out(sketch, name))


@pytest.mark.parametrize("name", ENGINES)
def test_layout_is_the_same_every_time(name: engine.Engine) -> None:
    sketch = chain(300, skip=4)
    assert lay_out(sketch, name) == lay_out(sketch, name)


@given(sketches(), sketches(), st.data())
def test_linked_nodes_keep_the_laws_and_stand_level(left: Sketch, right: Sketch, data: st.DataObject) -> None:
    sides = [[n for n in range(len(side.sizes)) if n not in side.constants] for side in (left, right)]
    pairs = []
    if all(sides):
        pairs = data.draw(st.lists(st.tuples(*(st.sampled_from(side) for side in sides), st.just(1.0)), max_size=6))
    planes = lay_out_level(left, right, pairs, "builtin")
    check(left, mirrored(planes[0]))  # the left graph has its constants on the left
    check(right, planes[1])
    assert planes[0].height == planes[1].height
    if pairs:
        assert any(abs(planes[0].boxes[a].cy - planes[1].boxes[b].cy) < 1e-6 for a, b, _ in pairs)


def test_one_to_one_chains_stand_level_throughout() -> None:
    left = Sketch(((120, 40),) * 12, tuple((n, n + 1) for n in range(11)))
    right = Sketch(((120, 70),) * 12, left.edges)
    planes = lay_out_level(left, right, [(n, n, 1.0) for n in range(12)], "builtin")
    assert [box.cy for box in planes[0].boxes] == pytest.approx([box.cy for box in planes[1].boxes])


def test_cycle_of_a_damaged_model_is_still_drawn() -> None:
    plane = lay_out(Sketch(((50, 20),) * 3, ((0, 1), (1, 2), (2, 1), (0, 0))), "builtin")
    assert len(plane.routes) == 4
    assert not plane.boxes[1].meets(plane.boxes[2])


def test_empty_graph() -> None:
    assert lay_out(Sketch((), ())).boxes == ()


# --- strips -----------------------------------------------------------------------------------------------


@given(sketches(40), st.integers(2, 12))
def test_strips_partition_nodes_and_edges_and_leave_for_one_head(sketch: Sketch, limit: int) -> None:
    strips = cut(sketch, limit)
    assert sorted(node for strip in strips for node in strip.nodes) == list(range(len(sketch.sizes)))
    assert sorted(e for strip in strips for e in (*strip.edges, *strip.leaving)) == list(range(len(sketch.edges)))
    for strip in strips:
        assert {sketch.edges[index][1] for index in strip.leaving} <= {strip.head}


def test_chain_is_cut_into_strips_of_the_limit() -> None:
    assert [len(strip.nodes) for strip in cut(chain(1000), 250)] == [250, 250, 250, 250]


def test_constant_stands_before_its_first_reader() -> None:
    assert reading_order(Sketch(((1, 1),) * 4, ((3, 2), (0, 1), (1, 2)), frozenset({3}))) == (0, 1, 3, 2)


# --- engines ----------------------------------------------------------------------------------------------


def test_without_dot_the_builtin_layout_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert lay_out(chain(5)).engine == "builtin"
    with pytest.raises(dot.DotFailed):
        lay_out(chain(5), "dot")


@pytest.mark.parametrize(
    "program",
    [
        "#!/bin/sh\nexit 3\n",
        "#!/bin/sh\necho graph 1 nonsense\necho stop\n",
        "#!/bin/sh\nexec sleep 20\n",
        "#!/bin/sh\n",
    ],
    ids=["fails", "babbles", "hangs", "says nothing"],
)
def test_broken_dot_falls_back(program: str, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "dot"
    fake.write_text(program)
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert lay_out(chain(5), timeout=0.3).engine == "builtin"


def test_cost_of_the_builtin_layout_is_linear() -> None:
    """Eight times the nodes may take at most 24 times as long; quadratic cost would take 64 times."""

    def cost(count: int) -> float:
        sketch = chain(count, skip=3)
        best = float("inf")
        for _ in range(3):
            start = time.process_time()
            lay_out(sketch, "builtin")
            best = min(best, time.process_time() - start)
        return best

    assert cost(4000) < 24 * cost(500)
