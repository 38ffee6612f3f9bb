"""Patches of the unit sphere: they cover it, stay a cover when cut, and turn as they say."""

import numpy as np
import pytest
from flint import arb

from samflow.proofs.balls import hull
from samflow.proofs.directions import Patch, sphere, turns


def holds(patch, e):
    return all(x.contains(arb(float(value))) for x, value in zip(patch.unit(), e, strict=True))


@pytest.mark.parametrize("dim", [1, 2, 3, 4])
def test_every_direction_lies_in_a_patch_of_a_cut_cover(dim):
    patches = sphere(dim)
    assert len(patches) == 2 * dim
    for k in range(dim - 1):
        patches = [half for patch in patches for half in patch.cut(k)]
    random = np.random.default_rng(0).normal(size=(50, dim))
    units = random / np.linalg.norm(random, axis=1, keepdims=True)
    for e in units:
        around = [patch for patch in patches if holds(patch, e)]
        assert 1 <= len(around) < len(patches)


def test_a_patch_of_one_point_is_that_direction():
    middle = Patch(1, -1, ((0.0, 1.0), (-0.5, -0.5))).middle()
    v = np.array([0.5, -1.0, -0.5])
    np.testing.assert_allclose([float(x) for x in middle.unit()], v / np.linalg.norm(v), rtol=1e-15)


def test_derivatives_are_those_of_differences():
    """Central differences with a step of 1e-6: an error of 1e-12, and rounding of 1e-10."""
    step, patch = 1e-6, Patch(0, -1, ((0.3, 0.3), (-0.7, -0.7)))
    norm, e = patch.frame()
    for k, turn in enumerate(turns(norm, e, patch.axis)):
        ends = []
        for sign in (1, -1):
            u = [0.3, -0.7]
            u[k] += sign * step
            ends.append([float(x) for x in Patch(0, -1, tuple((x, x) for x in u)).unit()])
        np.testing.assert_allclose(
            [float(x) for x in turn], np.subtract(*ends) / (2 * step), atol=1e-9
        )


def test_an_interval_of_a_cut_keeps_its_ends():
    before, after = Patch(0, 1, ((-1.0, 0.5),)).cut(0)
    assert before.box == ((-1.0, -0.25),)
    assert after.box == ((-0.25, 0.5),)
    assert hull(-1.0, -0.25).contains(before.u[0])
