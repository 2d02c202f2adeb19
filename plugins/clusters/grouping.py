"""The arithmetic of groups. Imports NumPy and scikit-learn: for workers only.

A first grouping finds regions that are denser than what lies between them (HDBSCAN, the leaves of its tree), in the few
directions in which the vectors differ most: distances say little in hundreds of dimensions. What lies between stays
noise. Later vectors join the group whose centre is nearest, if they are about as near to it as its own members are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import HDBSCAN
from sklearn.decomposition import PCA

from hooks import BadInput, Grouping, Task

if TYPE_CHECKING:
    from plugins.clusters.clusters import ClustersSettings

Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]

NOISE = -1
FEWEST = 5
OUTERMOST = 0.02  # share of a group's members that its reach leaves out
LEEWAY = 0.03  # how much less similar a vector may be that joins: few members do not show how wide a group is
STRANGE = 4.0
ROWS = 8192  # vectors that are compared at a time


def perform(task: Task, settings: ClustersSettings) -> Grouping:
    """Group the vectors of the task's first file, or have them join the groups whose centres are in its second."""
    dimensions = int(str(task.values["dimensions"]))
    vectors = read(task.files[0], dimensions)
    smallest = settings.smallest or smallest_of(int(str(task.values.get("count", len(vectors)))))
    known = task.values.get("reaches")
    if isinstance(known, list):
        centres, reaches = read(task.files[1], dimensions), np.array(known, dtype=np.float32)
        groups = joining(vectors, centres, reaches)
    else:
        groups, centres, reaches = grouped(vectors, smallest, settings.dimensions, settings.most)
    scores = similarities(vectors, centres, groups)
    return Grouping(
        groups=tuple(groups.tolist()),
        scores=tuple(scores.round(4).tolist()),
        reaches=tuple(reaches.tolist()),
        smallest=smallest,
        centres=np.ascontiguousarray(centres, dtype=np.float32).tobytes(),
    )


def read(path: Path, dimensions: int) -> Floats:
    """The vectors of a file, not read before they are needed."""
    numbers = path.stat().st_size // 4
    if dimensions < 1 or numbers % dimensions:
        raise BadInput(f"{numbers} numbers are no vectors of {dimensions}.")
    if numbers == 0:
        return np.empty((0, dimensions), dtype=np.float32)
    return np.memmap(path, dtype="<f4", mode="r").reshape(-1, dimensions)


def smallest_of(count: int) -> int:
    """How many of so many vectors make a group."""
    return max(FEWEST, round(0.7 * count**0.5))


def grouped(vectors: Floats, smallest: int, dimensions: int, most: int) -> tuple[Numbers, Floats, Floats]:
    """The group of each vector, the groups' centres and their reaches; the same vectors give the same groups."""
    groups = np.full(len(vectors), NOISE, dtype=np.int64)
    usable = np.flatnonzero(_finite(vectors))
    sample = usable
    if len(usable) > most:
        sample = np.sort(np.random.default_rng(0).choice(usable, most, replace=False))
    groups[sample] = _dense(vectors[sample], smallest, dimensions)
    _leave_out_strangers(vectors, groups)
    _unite_halves(vectors, groups)
    centres = _centres(vectors, groups)
    reaches = _reaches(vectors, centres, groups)
    others = usable[groups[usable] == NOISE]
    groups[others] = joining(vectors[others], centres, reaches)
    return groups, centres, reaches


def joining(vectors: Floats, centres: Floats, reaches: Floats) -> Numbers:
    """For each vector the known group that it joins, or -1: nothing is near enough."""
    groups = np.full(len(vectors), NOISE, dtype=np.int64)
    if not len(centres):
        return groups
    for start in range(0, len(vectors), ROWS):
        likeness = np.nan_to_num(vectors[start : start + ROWS] @ centres.T, nan=-2.0)
        nearest = likeness.argmax(axis=1)
        is_near = likeness[np.arange(len(nearest)), nearest] >= reaches[nearest]
        groups[start : start + ROWS][is_near] = nearest[is_near]
    return groups


def similarities(vectors: Floats, centres: Floats, groups: Numbers) -> Floats:
    """The cosine similarity of each vector with its group's centre, 0 without a group."""
    scores = np.zeros(len(vectors), dtype=np.float32)
    for group in range(len(centres)):
        members = np.flatnonzero(groups == group)
        scores[members] = vectors[members] @ centres[group]
    return scores


def _finite(vectors: Floats) -> NDArray[np.bool_]:
    parts = [np.isfinite(vectors[start : start + ROWS]).all(axis=1) for start in range(0, len(vectors), ROWS)]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=bool)


def _dense(vectors: Floats, smallest: int, dimensions: int) -> Sequence[int] | Numbers:
    if len(vectors) < 2 * smallest:
        return np.full(len(vectors), NOISE, dtype=np.int64)
    kept = min(dimensions, *vectors.shape)
    reduced = PCA(kept, svd_solver="full").fit_transform(vectors)
    tree = HDBSCAN(min_cluster_size=smallest, min_samples=1, cluster_selection_method="leaf", copy=True)
    groups: Numbers = tree.fit_predict(reduced)
    return groups


def _leave_out_strangers(vectors: Floats, groups: Numbers) -> None:
    """Make noise of what is far outside of its group: the tree gives a lone vector to the group nearest to it.

    Far outside is what is four times as far from the centre as three of four members are.
    """
    scores = similarities(vectors, _centres(vectors, groups), groups)
    for group in range(groups.max(initial=NOISE) + 1):
        members = np.flatnonzero(groups == group)
        apart = 1 - scores[members]
        groups[members[apart > STRANGE * np.quantile(apart, 0.75)]] = NOISE


def _unite_halves(vectors: Floats, groups: Numbers) -> None:
    """Make one group of two whose centres are nearer to each other than half of the members are to their own.

    The leaves of the tree divide what is evenly dense by chance.
    """
    while (count := groups.max(initial=NOISE) + 1) > 1:
        centres = _centres(vectors, groups)
        median = np.array([np.median(vectors[groups == group] @ centres[group]) for group in range(count)])
        nearer = centres @ centres.T - np.maximum(median[:, None], median)
        np.fill_diagonal(nearer, -1)
        one, other = sorted(divmod(int(nearer.argmax()), count))
        if nearer[one, other] < 0:
            return
        groups[groups == other] = one
        groups[groups > other] -= 1


def _centres(vectors: Floats, groups: Numbers) -> Floats:
    means = [vectors[groups == group].mean(axis=0) for group in range(groups.max(initial=NOISE) + 1)]
    if not means:
        return np.empty((0, vectors.shape[1]), dtype=np.float32)
    centres = np.stack(means)
    return centres / np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-12)


def _reaches(vectors: Floats, centres: Floats, groups: Numbers) -> Floats:
    nearness = (vectors[groups == group] @ centre for group, centre in enumerate(centres))
    return np.array([np.quantile(scores, OUTERMOST) - LEEWAY for scores in nearness], dtype=np.float32)
