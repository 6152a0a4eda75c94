"""An HTML page read strictly: its text, its elements, what they and its drawings point to."""

import base64
from html.parser import HTMLParser
from xml.etree import ElementTree

_EMPTY = {"meta", "img", "br", "link", "input"}
_SVG = "data:image/svg+xml;base64,"


class Checked(HTMLParser):
    """Fails where tags are not closed in order, an id is given twice, or a drawing is no SVG.

    What a drawing points to is among the page's links, its elements are in `drawn`.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.drawn: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.alts: list[str] = []
        self._open: list[str] = []
        self._text: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []
        assert len(self.ids) == len(set(self.ids))

    @property
    def text(self) -> str:
        return " ".join(" ".join(self._text).split())

    def require(self, *parts: str) -> None:
        """Its text has all these."""
        assert [part for part in parts if part not in self.text] == []

    def handle_starttag(self, tag, attrs):
        self._note(tag, attrs)
        if tag not in _EMPTY:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self._note(tag, attrs)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data):
        if not {"style"} & set(self._open):
            self._text.append(data)

    def _note(self, tag, attrs):
        self.tags.append(tag)
        for key, value in attrs:
            if key in ("src", "href", "xlink:href", "data", "srcset", "action"):
                self.links.append(value)
                if value.startswith(_SVG):
                    self._draw(base64.b64decode(value.removeprefix(_SVG), validate=True))
            if key == "id":
                self.ids.append(value)
            if key in ("alt", "aria-label"):
                self.alts.append(value)

    def _draw(self, svg):
        for element in ElementTree.fromstring(svg).iter():
            self.drawn.append(element.tag.partition("}")[2])
            for key, value in element.items():
                if key.rpartition("}")[2] in ("href", "src"):
                    self.links.append(value)
