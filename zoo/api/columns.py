"""A run's numbers by column, as a notebook plots and shows them."""

from collections.abc import Iterator, Mapping, Sequence

from markupsafe import Markup

from zoo.errors import visible
from zoo.run.console import short
from zoo.storage.files import or_nan

_SHOWN_ROWS, _SHOWN_COLUMNS = 12, 8


class Columns(Mapping[str, Sequence[float]]):
    """Columns of numbers of equal length, by name; NaN where a line has no such number.

    `pandas.DataFrame(columns)` is a table of it, `plt.plot(columns["epoch"], columns["reward"])`
    a curve.
    """

    def __init__(self, lines: Sequence[Mapping[str, float | None]], first: Sequence[str]) -> None:
        """Of lines by name; the names in `first` come before the others, which are sorted."""
        names = {name for line in lines for name in line}
        order = [*(name for name in first if name in names), *sorted(names - set(first))]
        self._columns = {name: tuple(or_nan(line.get(name)) for line in lines) for name in order}

    def __getitem__(self, name: str) -> Sequence[float]:
        """The column of that name."""
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return iter(self._columns)

    def __len__(self) -> int:
        """The number of columns."""
        return len(self._columns)

    @property
    def num_rows(self) -> int:
        """The length of every column."""
        return len(next(iter(self._columns.values()), ()))

    def __repr__(self) -> str:
        """How many there are."""
        return f"Columns of {self.num_rows} rows: {', '.join(self)}"

    def _repr_html_(self) -> str:
        """The last rows of the first columns, for a notebook."""
        names = list(self)[:_SHOWN_COLUMNS]
        rows = range(max(0, self.num_rows - _SHOWN_ROWS), self.num_rows)
        head = Markup("").join(Markup("<th>{}</th>").format(visible(name)) for name in names)
        body = Markup("").join(
            Markup("<tr>{}</tr>").format(
                Markup("").join(
                    Markup("<td>{}</td>").format(short(self[name][row])) for name in names
                )
            )
            for row in rows
        )
        table = Markup("<table><tr>{}</tr>{}</table>").format(head, body)
        more = len(self) - len(names)
        return str(table + (Markup("<p>{} more columns</p>").format(more) if more else ""))
