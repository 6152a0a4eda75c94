"""The page in a real browser: driven by its keys alone, at a phone's width and wide."""

import pytest

from zoo.run import votes

pytestmark = pytest.mark.slow

PROMPT = "document.getElementById('prompt').textContent"
SHOWN = "document.querySelectorAll('.image img').length"
READY = (
    f"{PROMPT} === '%s' && [...document.querySelectorAll('.image img')].every((i) => i.complete)"
)


@pytest.fixture
def reward(asking, expected):
    made = asking()
    made.scored = expected(
        made,
        one=[0.0, 0.5, 1.0],
        two=[0.2, 0.4],
        three=[0.1, 0.3, 0.7, 0.9],
        four=[0.2, 0.3, 0.4],
    )
    return made


def preferences(tmp_path):
    return {vote.prompt: vote.preference for vote in votes.read(tmp_path)}


@pytest.mark.parametrize("width", [390, 1200])
def test_a_person_votes_by_keys_alone(width, browser, reward, tmp_path):
    browser.open(reward.address, width=width, height=800)

    # The best, then the worst; one pick is taken back.
    browser.until(READY % "one")
    browser.press("3", "2", "Backspace", "1", "Enter")

    # Of two images the better one is enough.
    browser.until(READY % "two")
    assert browser.value("document.getElementById('send').disabled")
    browser.press("2", "Enter")

    # A ranking; images that are left out share the last place. By Tab and Space too.
    browser.until(READY % "three")
    browser.press("r", "4", "ArrowRight", "ArrowRight", "Space", "Enter")

    # Nothing to say.
    browser.until(READY % "four")
    browser.press("s")
    browser.until(f"{SHOWN} === 0")
    assert preferences(tmp_path) == {
        "one": (0, 0.5, 1),
        "two": (0, 1),
        "three": (0, 0.5, 0, 1),
        "four": (0.5, 0.5, 0.5),
    }

    # A last vote can be changed, while the run waits or not.
    browser.press("b")
    browser.until(READY % "four")
    browser.press("r", "1", "3", "Enter")
    browser.until(f"{SHOWN} === 0")
    assert preferences(tmp_path)["four"] == (1, 0.5, 0)
    assert reward.scored("one").value.tolist() == [0, 0.5, 1]
    assert browser.value("document.documentElement.scrollWidth <= innerWidth")


def test_a_vote_that_is_begun_outlives_the_round_and_a_reload_keeps_the_name(
    browser, reward, tmp_path
):
    browser.open(reward.address, width=390, height=800)
    browser.until(READY % "one")
    guest = browser.value("document.getElementById('voter').value")
    assert guest.startswith("guest-")
    browser.press("3")
    reward.rest()
    browser.until("document.getElementById('news').textContent.startsWith('The run has gone on')")
    browser.press("1", "Enter")
    browser.until(f"{SHOWN} === 0 && document.getElementById('news').textContent.includes('kept')")
    assert [(vote.voter, vote.preference) for vote in votes.read(tmp_path)] == [
        (guest, (0, 0.5, 1))
    ]
    browser.open(reward.address, width=390, height=800)
    browser.until(f"document.getElementById('voter')?.value === '{guest}'")
    browser.until(f"{PROMPT}.startsWith('Nothing to vote on now')")


def test_everything_that_is_pressed_has_a_name_and_is_large_enough_for_a_finger(browser, reward):
    browser.open(reward.address, width=390, height=800)
    browser.until(READY % "one")
    unnamed = browser.value(
        "[...document.querySelectorAll('button, input, select')].filter((e) => e.offsetParent && "
        "!(e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.length)).length"
    )
    assert unnamed == 0
    lowest = browser.value(
        "Math.min(...[...document.querySelectorAll('button')].filter((e) => e.offsetParent)"
        ".map((e) => e.getBoundingClientRect().height))"
    )
    assert lowest >= 44
