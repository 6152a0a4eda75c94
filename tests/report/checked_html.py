"""An HTML page read strictly: its text, its elements, what they point to."""

from html.parser import HTMLParser

_EMPTY = {"meta", "img", "br", "link", "input"}


class Checked(HTMLParser):
    """Fails where tags are not closed in order or an id is given twice."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
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
            if key == "id":
                self.ids.append(value)
            if key in ("alt", "aria-label"):
                self.alts.append(value)
