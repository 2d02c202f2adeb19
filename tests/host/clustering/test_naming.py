"""What a cluster is called where no model looks, and what is made of what one says."""

import pytest

from hooks import ClusterEnrichment, ClusterLabel
from host.clustering import naming


def test_pictures_are_named_by_what_fits_them_best_on_average():
    members = [{"black cat": 0.9, "black dog": 0.1}, {"gray cat": 0.6, "black cat": 0.4}, {"black cat": 0.8}]
    label = naming.label_of_pictures(members, [])
    assert label is not None
    assert (label.cluster_name, label.primary_category) == ("black cat", "cat")
    assert label.tags == ("black cat", "gray cat")
    assert label.confidence == pytest.approx(0.7)


def test_a_caption_describes_and_names_where_nothing_else_does():
    label = naming.label_of_pictures([], ["two dogs on a road"])
    assert label is not None
    assert (label.cluster_name, label.confidence) == ("two dogs on a road", 0)
    assert naming.label_of_pictures([], []) is None


def test_texts_are_named_by_words_that_most_have_and_few_others():
    texts = ["The budget speaks about money", "Our money and the budget", "about the budget"]
    label = naming.label_of_texts(texts, {"budget": 0.1, "money": 0.2, "about": 0.9})
    assert label is not None
    assert label.cluster_name == "budget money about"
    assert naming.label_of_texts(["one two"], {}) is None


@pytest.mark.parametrize(
    ("said", "safe"),
    [
        ("../../etc/passwd", "etc passwd"), ("/", ""), (".", ""), ("..", ""), ("...", ""), ("-rf", "rf"),
        ("~root", "root"), ("C:\\Windows", "C Windows"), ("a\0b\nc", "a b c"), ("\u202egnp.exe", "gnp.exe"),
        ("  cats. ", "cats"),
        ("x" * 300, "x" * 60), ("猫 und Hunde", "猫 und Hunde"), ("$(reboot) `x` %2e", "(reboot) x 2e"),
    ],
)  # fmt: skip
def test_what_a_model_says_becomes_a_name_that_leads_nowhere_else(said, safe):
    assert naming.folder_name(said) == safe


def test_the_folders_of_a_cluster_are_few_and_end_with_its_own():
    deep = ClusterEnrichment(hierarchy=("..", "a", "/", "b", "c", "d", "e"))
    assert naming.folders_of("cats", None, deep) == ("a", "b", "c", "d", "cats")
    assert naming.folders_of("cats", None, ClusterEnrichment(hierarchy=("animals", "Cats"))) == ("animals", "cats")
    assert naming.folders_of("cats", ClusterLabel(cluster_name="x", primary_category="animals"), None) == (
        "animals",
        "cats",
    )
    assert naming.folders_of("..", None, None) == ("cluster",)


def test_a_name_that_is_taken_gets_a_number_whatever_the_case():
    assert naming.unique("cats", ["Cats", "CATS 2"]) == "cats 3"
