"""GenEval's scenes name the classes of COCO in English."""

from zoo.data.geneval_scenes import CLASSES, COLORS, one, several

PLURALS = (
    "people", "bicycles", "cars", "motorcycles", "airplanes", "buses", "trains", "trucks",
    "boats", "traffic lights", "fire hydrants", "stop signs", "parking meters", "benches",
    "birds", "cats", "dogs", "horses", "sheep", "cows", "elephants", "bears", "zebras",
    "giraffes", "backpacks", "umbrellas", "handbags", "ties", "suitcases", "frisbees",
    "pairs of skis", "snowboards", "sports balls", "kites", "baseball bats",
    "baseball gloves", "skateboards", "surfboards", "tennis rackets", "bottles",
    "wine glasses", "cups", "forks", "knives", "spoons", "bowls", "bananas", "apples",
    "sandwiches", "oranges", "heads of broccoli", "carrots", "hot dogs", "pizzas", "donuts",
    "cakes", "chairs", "couches", "potted plants", "beds", "dining tables", "toilets", "tvs",
    "laptops", "computer mice", "tv remotes", "computer keyboards", "cell phones",
    "microwaves", "ovens", "toasters", "sinks", "refrigerators", "books", "clocks", "vases",
    "pairs of scissors", "teddy bears", "hair driers", "toothbrushes",
)  # fmt: skip

AN = {"airplane", "elephant", "umbrella", "apple", "orange", "oven"}


def test_there_are_the_80_classes_each_once() -> None:
    assert len(CLASSES) == len(set(CLASSES)) == len(PLURALS) == 80


def test_every_class_has_its_plural() -> None:
    plurals = dict(zip(CLASSES, PLURALS, strict=True))
    assert [name for name, plural in plurals.items() if several(name, 2) != f"two {plural}"] == []
    assert [name for name in CLASSES if not several(name, 4).startswith("four ")] == []


def test_every_class_has_its_article() -> None:
    in_units = {
        "skis": "a pair of skis", "scissors": "a pair of scissors", "broccoli": "a head of broccoli"
    }  # fmt: skip
    articles = {
        name: in_units.get(name, f"{'an' if name in AN else 'a'} {name}") for name in CLASSES
    }
    assert [name for name, article in articles.items() if one(name) != article] == []


def test_the_colour_stands_before_its_noun_and_has_the_article() -> None:
    assert one("apple", "red") == "a red apple"
    assert one("car", "orange") == "an orange car"
    assert one("scissors", "orange") == "a pair of orange scissors"
    assert [color for color in COLORS if one("cup", color).startswith("an ")] == ["orange"]
