"""Reading the score out of a reply."""

import math
import re

import pytest
from zoo_unified_reward.reply import Scale, read_score

READ = {
    "Final Score: 4": 4,
    "final score : 4": 4,
    "FINAL SCORE: 4": 4,
    "Final Score:4": 4,
    "Final Score: 4.": 4,
    "Final Score: 4.5": 4.5,
    "Final Score: 4.50": 4.5,
    "Final Score: 4,5": 4.5,
    "Final Score: 1": 1,
    "Final Score: 5.0": 5,
    "Final Score:\n\n4": 4,
    "Final Score: +3": 3,
    # markdown, LaTeX, HTML, JSON
    "**Final Score:** 4": 4,
    "**Final Score: 4**": 4,
    "**Final Score**: 4": 4,
    "**Final Score:** **4**": 4,
    "### Final Score: `4`": 4,
    "__Final Score:__ _4_": 4,
    "Final Score: ~~3~~ 4": math.nan,
    "Final Score: $\\boxed{4}$": 4,
    "Final Score: \\(4\\)": 4,
    "Final Score: \\boxed{\\text{4}}": 4,
    "Final Score: <b>4</b>": 4,
    "<answer>Final Score: 4</answer>": 4,
    '{"final_score": 4}': 4,
    '{"Final Score": "4.5"}': 4.5,
    '{"score": 3.5, "why": "2 cats"}': 3.5,
    # unicode
    "Final Score\uff1a\uff14": 4,
    "Final\u00a0Score:\u00a04": 4,
    "Final Score: 4\u200b": 4,
    "Final Score: 4½": 4.5,
    "Final Score: ④": 4,
    "Final Score \u2013 4": 4,
    "Final Score: 4\u20445": 4,
    # of how many
    "Final Score: 4/5": 4,
    "Final Score: 4 / 5": 4,
    "Final Score: 4.5/5.0": 4.5,
    "Final Score: 4 out of 5": 4,
    "Final Score: **4** out of **5**": 4,
    "Final Score: 4 (out of 5)": 4,
    "Final Score: 4 of 5": 4,
    "Final Score: 5 stars": 5,
    "Final Score: 4/10": math.nan,
    "Final Score: 8/10": math.nan,
    "Final Score: 4 (out of 10)": math.nan,
    "Final Score: 80%": math.nan,
    "Final Score: 4 %": math.nan,
    "Final Score: 4 percent": math.nan,
    # other words
    "The final score is 3.": 3,
    "The final score for this image is **3**.": 3,
    "Final Score (1-5): 4": 4,
    "Final Score [1 to 5]: 4": 4,
    "Final Score out of 5: 4": 4,
    "Final Score (4)": 4,
    "Final Score = 3.75": 3.75,
    "Final Score of 4": 4,
    "Final Score 4": 4,
    "Final Rating: 4": 4,
    "Overall Score: 3": 3,
    "Score: 4.5": 4.5,
    "I like it. My rating: 4/5": 4,
    "The score is 4.": 4,
    # without a label
    "4": 4,
    " **4.5** ": 4.5,
    "4/5": 4,
    "(4 out of 5)": 4,
    "I would give it 4 out of 5 for the light.": 4,
    "4/5 for the cat, so 4/5": 4,
    # the last of several, and the surest label
    "Final Score: 2\nNo, better:\nFinal Score: 4": 4,
    "Assign a score after 'Final Score:'.\nFinal Score: 3": 3,
    "Score: 2\nFinal Score: 4\nScore: 3": 4,
    "Overall Score: 2\nScore: 3": 2,
    "Final Score: 4\nThe final score reflects both criteria.": 4,
    "Final Score: 4\n\n1. The cat is good.": 4,
    "Final Score: 4\n- 2 cats are missing.": 4,
    "Alignment Score: 5\nQuality Score: 2\nFinal Score: 3": 3,
    "<think>Final Score: 2</think>Final Score: 3": 3,
    "Final Score: 4\nThe caption asks for 10 cats and 12 dogs.": 4,
    # not plain which
    "Final Score: 3-4": math.nan,
    "Final Score: 3\u20134": math.nan,
    "Final Score: 3 or 4": math.nan,
    "Final Score: 3 to 4": math.nan,
    "Final Score: 1-5": math.nan,
    "Final Score: 4\nFinal Score: N/A": math.nan,
    "Alignment Score: 5\nQuality Score: 2": math.nan,
    "3/5 for the cat, 4/5 for the light": math.nan,
    "<think>Final Score: 2": math.nan,
    # outside the range
    "Final Score: 10": math.nan,
    "Final Score: 0": math.nan,
    "Final Score: 0.5": math.nan,
    "Final Score: .5": math.nan,
    "Final Score: 5.01": math.nan,
    "Final Score: 6": math.nan,
    "Final Score: -4": math.nan,
    "Final Score: \u22124": math.nan,
    "Final Score: 4,000": math.nan,
    "Final Score: 45": math.nan,
    "10": math.nan,
    # no number
    "": math.nan,
    " \n": math.nan,
    "Final Score:": math.nan,
    "Final Score: four": math.nan,
    "Final Score: N/A": math.nan,
    "Final Score: nan": math.nan,
    "Final Score: inf": math.nan,
    "Final Score: 4.2.1": math.nan,
    "Final Score: 4th": math.nan,
    "Final Score: v4": math.nan,
    "I'm sorry, but I can't help with that.": math.nan,
    "There are 5 cats; I see 3 of 5 dogs.": math.nan,
    "A 4 by 5 grid": math.nan,
}


@pytest.mark.parametrize(("reply", "score"), READ.items())
def test_a_reply_is_read(reply: str, score: float) -> None:
    assert read_score(reply, Scale()) == pytest.approx(score, nan_ok=True)


@pytest.mark.parametrize(
    ("reply", "score"), [("Final Score: 10", 10), ("8/10", 8), ("4/5", math.nan), ("0", 0)]
)
def test_the_scale_says_what_can_be(reply: str, score: float) -> None:
    assert read_score(reply, Scale(0, 10)) == pytest.approx(score, nan_ok=True)


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("Final Score: 4", math.nan),
        ("Final Score: **4**", math.nan),
        ("4", math.nan),
        ("Final Score: 4\nBecause the cat", 4),
        ("Final Score: 4.", 4),
    ],
)
def test_a_number_where_a_reply_was_cut_is_not_believed(reply: str, score: float) -> None:
    assert read_score(reply, Scale(), complete=False) == pytest.approx(score, nan_ok=True)


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("grade=2; grade=3", 3),
        ("grade=9", math.nan),
        ("Final Score: 4", math.nan),
        ("grade=2,5", 2.5),
        ("grade=x", math.nan),
    ],
)
def test_a_pattern_of_the_recipe_replaces_the_labels(reply: str, score: float) -> None:
    pattern = re.compile(r"grade=([\d.,]+|x)")
    assert read_score(reply, Scale(), pattern=pattern) == pytest.approx(score, nan_ok=True)


@pytest.mark.parametrize(
    "piece", [" ", "1", "(", "Final Score: ", "<think>", "score ", "<a ", "1,", "Final Score ("]
)
def test_an_endless_reply_is_read_in_linear_steps(piece: str) -> None:
    # 300 kB: with quadratic steps this would take hours.
    assert math.isnan(read_score("Final Score: x" + piece * (300_000 // len(piece)), Scale()))


@pytest.mark.parametrize(("lowest", "highest"), [(5, 1), (1, 1), (-1, 5), (0, math.inf)])
def test_a_scale_without_a_range_is_refused(lowest: float, highest: float) -> None:
    with pytest.raises(ValueError, match=r"cannot be used; write 0 <= lowest < highest"):
        Scale(lowest, highest)
