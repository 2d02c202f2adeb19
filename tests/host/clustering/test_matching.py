"""A cluster is known again by its members."""

from host.clustering.matching import matched


def members(**groups: range) -> dict[int, int]:
    """Vectors by the group that has them; a group is called g and its number."""
    return {vector: int(name[1:]) for name, vectors in groups.items() for vector in vectors}


def test_the_same_members_are_the_same_cluster_whatever_their_number():
    assert matched(members(g0=range(10, 20), g1=range(10)), members(g7=range(10), g9=range(10, 20))) == {0: 9, 1: 7}


def test_what_a_cluster_gains_does_not_make_another_one_of_it():
    assert matched(members(g0=range(100)), members(g5=range(10))) == {0: 5}


def test_of_a_cluster_that_falls_in_two_the_larger_part_keeps_the_name():
    assert matched(members(g0=range(6, 20), g1=range(6)), members(g5=range(20))) == {0: 5}


def test_of_two_that_become_one_the_larger_name_stays():
    assert matched(members(g0=range(20)), members(g5=range(13), g6=range(13, 20))) == {0: 5}


def test_a_few_common_members_are_not_enough():
    assert matched(members(g0=range(8, 20)), members(g5=range(10))) == {}


def test_a_new_group_of_what_was_noise_is_a_new_cluster():
    assert matched(members(g0=range(10), g1=range(50, 60)), members(g5=range(10))) == {0: 5}
