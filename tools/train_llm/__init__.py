"""How the bundled language model was made: a little world of clusters, records and meetings, which it learns."""
