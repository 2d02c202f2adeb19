"""The words of the made-up world."""

# ruff: noqa: SIM905, E501 - lists of words read better as sentences

from __future__ import annotations

SUBJECTS = {
    "Animals": "dog cat horse bird cow sheep goat rabbit".split(),
    "Vehicles": "car train boat bicycle truck bus tram plane".split(),
    "Sports": "runner swimmer skier cyclist rower climber skater boxer".split(),
    "Food": "cake pizza salad bread soup cheese burger pasta".split(),
    "Buildings": "tower bridge church castle house school temple barn".split(),
    "Plants": "tree flower cactus mushroom rose palm ivy fern".split(),
}
CATEGORY = {subject: category for category, subjects in SUBJECTS.items() for subject in subjects}
PLACES = (
    "beach park city forest lake street market stadium garden desert village harbour river valley island station "
    "museum square hill field road cave port dock plaza alley yard farm canyon bay"
).split()
COLOURS = "red blue green yellow white black orange purple".split()
TIMES = "sunset morning night noon dawn evening".split()
CAPTIONS = (
    "a {colour} {subject} in the {place} at {time}",
    "photo of a {colour} {subject} near the {place}",
    "a {subject} at {time}, {colour} colours",
    "{colour} {subject} seen in the {place} at {time}",
    "close view of a {colour} {subject} at {time}",
    "the {place} with a {colour} {subject}",
)
CLUSTER_NAMES = ("{subject}_{place}", "{place}_{subject}", "{subject} {place}", "{place} {subject}")

OWNERS = (
    "race photo camera user order sensor music travel school health video ticket product invoice device garden weather "
    "hotel club team store train fitness power water energy traffic game book movie song recipe client supplier member "
    "course exam pet farm ship"
).split()
THINGS = (
    "results items events records logs entries reports scores orders files notes plans lists prices visits tasks alerts "
    "tests points routes sales stocks votes drafts teams cards groups links tags rates"
).split()
VALUES = "Ana Bob Paris Milan north alpha delta blue fast quiet ready late".split()
FIELD_TYPES = {
    "bib": "integer", "age": "integer", "width": "integer", "year": "integer", "price": "real", "weight": "real",
    "speed": "real", "name": "text", "city": "text", "title": "text", "status": "text", "active": "boolean",
    "public": "boolean", "done": "boolean", "tags": "json", "meta": "json",
}  # fmt: skip
OPEN_FIELDS = "value size code level mark".split()  # of whichever type their values are

NAMES = (
    "Ana Bob Carla David Elena Frank Gina Hugo Irene Jack Laura Marco Nina Oscar Paula Quinn Rosa Sam Tina Ugo Vera Walt "
    "Xena Yuri Zoe Adam Bella Carlo Dora Eric Fabio Greta Henry Ida Joel Kate Leo Mia Noah Olga"
).split()
TOPICS = (
    "budget website race album contract holiday office plan delivery survey concert garden kitchen system party server "
    "meeting project festival strategy roof logo trip menu camera warehouse"
).split()
VERBS = "send book fix update print check sign order test move clean paint sell read copy pack rent open close share".split()
OBJECTS = (
    "report hall printer list bibs photos papers shirts cameras boxes tables tickets maps keys files chairs doors badges "
    "prizes flags"
).split()
ACTIONS = tuple(f"{verb} the {thing}" for verb in VERBS for thing in OBJECTS)
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
OPENINGS = (
    "{other}, can we talk about the {topic}?",
    "hello {other}, I have news on the {topic}.",
    "let us look at the {topic}, {other}.",
)
ASIDES = (
    "how was the weekend?",
    "the coffee is cold today.",
    "I slept badly.",
    "the train was late again.",
    "sorry, the line is bad.",
)
REPLIES = (
    "sure, we are late.",
    "yes, people are waiting.",
    "of course, what is next?",
    "fine, it needs work.",
)
DECISIONS = (
    "let us {action} on {day}.",
    "then we {action} on {day}.",
    "I think we should {action} on {day}.",
    "so, on {day} we {action}.",
)
CLOSINGS = ("agreed.", "good, thank you.", "perfect.", "that works for me.")
