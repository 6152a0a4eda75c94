from PIL import Image

from zoo.report.markdown import write
from zoo.report.page import (
    WARNING,
    Figure,
    Figures,
    Listing,
    Note,
    Page,
    Section,
    Table,
    Tiles,
    missing,
)
from zoo.report.plots import Series, lines

DRAWING = lines([Series("", [0, 1], [0, 1])], x_label="epoch", y_label="fox")
PICTURE = Image.new("RGB", (4, 4), "red")
BLOCKS = (
    Note("plain | *text*"),
    Note("careful", WARNING),
    missing("nothing <b>here</b>"),
    Table("", (), (("a", "b|c"), ("d", "e")), numbers=False),
    Table("A caption.", ("run", "seed"), (("x_1", "0"),)),
    Figures((Figure("same", "A $x$.", "alt [1]", DRAWING), Figure("same", "B.", "b", DRAWING))),
    Figures((Figure("sheet", "C.", "c", PICTURE),)),
    Tiles("tiles", "Images.", ("a `fox`", "dog"), (("epoch 0", (PICTURE, None)),)),
    Listing("A 'recipe'", "rewards: ```x```\n"),
)
EXPECTED = r"""# A \# title

About.

## First

made by: `` zoo report `x` ``

plain \| \*text\*

> **Warning:** careful

> *Missing:* nothing &lt;b&gt;here&lt;/b&gt;

|  |  |
| --- | --- |
| a | b\|c |
| d | e |

| run | seed |
| --- | ---: |
| x\_1 | 0 |

A caption.

![alt \[1\]](plots/same.png)

A \$x\$.

![b](plots/same_2.png)

B.

![c](pictures/sheet.png)

C.

![Images.](pictures/tiles.png)

Images. Columns: 1: a \`fox\`; 2: dog.

<details><summary>A &#39;recipe&#39;</summary>

````
rewards: ```x```
````

</details>

## Empty

made by: `` zoo report `x` ``
"""


def test_a_page_as_markdown(tmp_path):
    sections = (Section("first", "First", BLOCKS), Section("empty", "Empty", ()))
    write(Page("A # title", "About.", "zoo report `x`", sections), tmp_path / "report.md")
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == EXPECTED
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*.png")}
    assert files == {
        "plots/same.png", "plots/same_2.png", "pictures/sheet.png", "pictures/tiles.png",
    }  # fmt: skip


def test_pictures_of_an_earlier_page_go(tmp_path):
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "old.png").touch()
    write(Page("a", "", "b", ()), tmp_path / "report.md")
    assert not list(tmp_path.glob("*/*.png"))
