"""`sensorium cluster` and `clusters` beside a running host."""

from pydantic import TypeAdapter

from host.views import ClusterRun, ClusterView


def test_a_look_says_what_it_did_and_what_went_wrong(cli, host):
    shown = cli("cluster").flat
    assert "Nothing new has arrived since the last look." in shown
    assert "3 clusters of 28; 2 belong to none." in shown
    assert "vlm could not do label_cluster: it is away" in shown


def test_a_new_grouping_says_what_was_found_again(cli, host):
    shown = cli("cluster", "--anew").flat
    assert "All 30 were grouped: 1 new, 2 found again, 1 gone." in shown
    assert "Named with 1 call of models: cats." in shown
    assert ClusterRun.model_validate_json(cli("cluster", "--anew", "--json").out).gone == ["dogs"]


def test_clusters_are_listed_and_one_is_shown_with_its_files(cli, host):
    assert "There are no clusters yet" in cli("clusters").flat
    one, two = host.add("one.png"), host.add("two.png")
    host.group("red things", one, two)
    assert "2 red things red, round 0.80 one.png" in cli("clusters").flat
    shown = cli("clusters", "red things").flat
    assert "description Alike." in shown
    assert "hierarchy shapes, red things" in shown
    assert "relationships similar to: rings" in shown
    assert "0.900 two.png" in shown
    (view,) = TypeAdapter(list[ClusterView]).validate_json(cli("clusters", "--json").out)
    assert [member.event for member in view.members] == [one, two]


def test_a_cluster_that_is_not_there_is_not_found(cli, host):
    ended = cli("clusters", "blue things")
    assert (ended.code, "No cluster is called 'blue things'." in ended.flat_err) == (5, True)
