import pytest

from tests.data.hub_server import Hub, in_place_of_the_hub
from tests.pictures import encoded, flat


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """An empty hub that huggingface_hub takes for the real one, and an empty cache."""
    found = Hub()
    with in_place_of_the_hub(found, monkeypatch, tmp_path / "cache"):
        yield found


@pytest.fixture
def folder(tmp_path):
    """A folder of pictures of one colour each, beside which tables are written."""
    (tmp_path / "pictures").mkdir()
    for name in ("red", "green", "blue"):
        (tmp_path / "pictures" / f"{name}.png").write_bytes(encoded(flat(name)))
    return tmp_path
