"""Permutations of many dimensions as few TRANSPOSEs of rank 4 at most.

Dimensions that stay neighbours in order move as one; those of size 1 do not move at all. What then still has more
than four groups is reached by several TRANSPOSEs, each over at most four runs of groups.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, pairwise, permutations

from nnapi_lab.rewrites.placement import RANK_LIMIT


@dataclass(frozen=True, slots=True)
class Move:
    """One TRANSPOSE: view the tensor as `shape`, permute by `perm`."""

    shape: tuple[int, ...]
    perm: tuple[int, ...]


def moves(shape: tuple[int, ...], order: tuple[int, ...]) -> tuple[Move, ...]:
    """The TRANSPOSEs that bring a tensor of `shape` into the order `order` (new position → old axis).

    Empty when only dimensions of size 1 move. A permutation of rank 4 or less is one move over the given shape, so
    that nothing has to be reshaped for it.
    """
    moving = [axis for axis in order if shape[axis] != 1]
    if moving == sorted(moving):
        return ()
    if len(shape) <= RANK_LIMIT:
        return (Move(tuple(shape), tuple(order)),)
    groups = _groups(moving)
    sizes = [math.prod(shape[axis] for axis in group) for group in sorted(groups)]
    wanted = tuple(sorted(groups).index(group) for group in groups)
    made, state = [], tuple(range(len(sizes)))
    for cuts, perm in _route(wanted):
        runs = [state[start:end] for start, end in pairwise(cuts)]
        made.append(Move(tuple(math.prod(sizes[group] for group in run) for run in runs), perm))
        state = tuple(group for index in perm for group in runs[index])
    return tuple(made)


def neighbour_swap(shape: tuple[int, ...], order: tuple[int, ...]) -> tuple[int, ...] | None:
    """The axes that changed places, first run then second run afterwards, if just two neighbours did; else None."""
    moving = [axis for axis in order if shape[axis] != 1]
    groups = _groups(moving)
    ranks = [sorted(groups).index(group) for group in groups]
    turned = [place for place, rank in enumerate(ranks) if place != rank]
    if len(turned) != 2 or turned[1] != turned[0] + 1:
        return None
    return tuple(axis for place in turned for axis in groups[place])


def _groups(moving: list[int]) -> list[tuple[int, ...]]:
    """Runs of axes that follow each other before and after, in the order after."""
    rank_of = {axis: place for place, axis in enumerate(sorted(moving))}
    groups: list[list[int]] = []
    for axis in moving:
        if groups and rank_of[axis] == rank_of[groups[-1][-1]] + 1:
            groups[-1].append(axis)
        else:
            groups.append([axis])
    return [tuple(group) for group in groups]


Cut = tuple[tuple[int, ...], tuple[int, ...]]


@lru_cache(maxsize=256)
def _route(wanted: tuple[int, ...]) -> tuple[Cut, ...]:
    """Fewest (cuts, permutation of the runs between them) that turn 0, 1, 2 … into `wanted`: breadth first."""
    start = tuple(range(len(wanted)))
    came: dict[tuple[int, ...], tuple[tuple[int, ...], Cut] | None] = {start: None}
    frontier = [start]
    while wanted not in came:
        reached = []
        for state in frontier:
            for cut, after in _neighbours(state):
                if after not in came:
                    came[after] = (state, cut)
                    reached.append(after)
        frontier = reached
    route: list[Cut] = []
    step = came[wanted]
    while step is not None:
        route.append(step[1])
        step = came[step[0]]
    return tuple(reversed(route))


def _neighbours(state: tuple[int, ...]) -> Iterator[tuple[Cut, tuple[int, ...]]]:
    size = len(state)
    runs_most = min(RANK_LIMIT, size)
    for inner in combinations(range(1, size), runs_most - 1):
        cuts = (0, *inner, size)
        runs = [state[start:end] for start, end in pairwise(cuts)]
        for perm in permutations(range(runs_most)):
            if perm != tuple(range(runs_most)):
                yield (cuts, perm), tuple(group for index in perm for group in runs[index])
