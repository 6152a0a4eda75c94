import math
import shutil

import pytest

from tests.report.checked_html import Checked
from tests.report.run_folder import metrics, run_folder, write_metrics
from zoo.compare.page import write_comparison
from zoo.compare.page_plots import scores
from zoo.compare.results import Comparison, Contender, FailedRun
from zoo.recipe.sections import ScoreTarget
from zoo.report.page import Figures
from zoo.run.record import read_run

SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suite")
    for seed in SEEDS:
        run_folder(folder / f"fast_{seed}", seed=seed, speed=1.0)
        run_folder(folder / f"slow_{seed}", seed=seed, speed=0.4)
    return folder


def runs(folders, name, seeds=SEEDS):
    return {seed: read_run(folders / f"{name}_{seed}") for seed in seeds}


def target(at_least):
    return ScoreTarget(label="judge", at_least=at_least)


TARGETS = (target(0.5),)


def comparison(*contenders, targets=TARGETS, about="Which <b>one</b>?"):
    budget = {"forwards": 12000}
    return Comparison("foxes", about, budget, SEEDS, contenders, targets, "zoo compare foxes.yaml")


@pytest.fixture(scope="module")
def both(folders):
    failed = FailedRun(3, "RewardError: <script>", "logs/slow_3.log")
    slow = Contender(
        "slow <i>one</i>", {"objective": {"beta": 1}}, runs(folders, "slow"), (failed,)
    )
    return comparison(Contender("fast", {}, runs(folders, "fast")), slow)


@pytest.fixture(scope="module")
def written(both, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    write_comparison(both, folder)
    return folder


def page(folder) -> Checked:
    return Checked((folder / "report.html").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_page_has_what_a_reader_wants_in_order(written):
    text = page(written).text
    parts = (
        "Which <b>one</b>?", "budget of a run 12,000 forwards", "targets judge at least 0.5",
        "judge held out, no contender trains on it", "slow <i>one</i> 3 3 1",
        "fast 3 0.775 [0.765, 0.785] 0.875 [0.865, 0.885]",
        "judge against network forwards; dotted: targets.", "memory (GB)",
        "drift: relative RMS change", "of seed 0, the same prompts and the same noise.",
        "slow_3.log", "gpus none all runs",
    )  # fmt: skip
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


def test_the_cost_of_a_target_is_that_of_the_line_between_evaluations(written):
    # By hand: 0.9 - exp(-epoch / 3) + 0.01 seed at epochs 2 and 4, 2000 forwards an epoch.
    def forwards(seed):
        before, after = (1 - math.exp(-epoch / 3) + 0.01 * seed - 0.1 for epoch in (2, 4))
        return 2000 * (2 + 2 * (0.5 - before) / (after - before))

    low, middle, high = (f"{forwards(seed):,.0f}" for seed in (2, 1, 0))
    assert f"{middle} [{low}, {high}]" in page(written).text


@pytest.mark.slow
def test_a_target_that_no_seed_or_only_some_reach_is_said_so(folders, tmp_path):
    slow, fast = (
        Contender("slow", {}, runs(folders, "slow")),
        Contender("fast", {}, runs(folders, "fast")),
    )
    # The slow runs end at 0.451, 0.461 and 0.471 of the held-out reward.
    write_comparison(comparison(fast, slow, targets=(target(0.465), target(0.9))), tmp_path)
    text = page(tmp_path).text
    assert "not within the budget (1 of 3 seeds)" in text
    assert text.count("not within the budget (0 of 3 seeds)") == 8
    assert "unknown" in text


def test_markdown_says_the_same_with_its_pictures_as_files(written):
    text = (written / "report.md").read_text(encoding="utf-8")
    linked = {line.rpartition("](")[2][:-1] for line in text.splitlines() if line.startswith("![")}
    files = {str(path.relative_to(written)) for path in written.glob("*/*.png")}
    assert linked == files
    assert len(files) > 10
    told = "".join(text.split("```")[::2])
    assert "<script>" not in told
    assert "<b>" not in told
    assert text.count("## ") == page(written).tags.count("section")


@pytest.mark.parametrize(("num", "panels"), [(7, 1), (8, 8)])
def test_of_many_contenders_each_has_a_panel_of_its_own(folders, num, panels):
    some = [Contender(f"c{i}", {}, runs(folders, "fast", (i % 3,))) for i in range(num)]
    figures = next(b for b in scores(comparison(*some)).blocks if isinstance(b, Figures))
    assert {len(figure.content.figure.axes) for figure in figures.figures} == {panels}


def test_nothing_is_fetched_and_nothing_runs(written):
    found = page(written)
    assert not {"script", "i", "b"} & set(found.tags)
    assert found.drawn
    assert "script" not in found.drawn
    assert all(link.startswith(("#", "data:image/")) for link in found.links)
    assert all(found.alts)


@pytest.mark.slow
def test_the_same_runs_give_the_same_files(both, written, tmp_path):
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "judge_seconds.png").write_bytes(b"of an earlier report")
    write_comparison(both, tmp_path)
    names = {str(path.relative_to(written)) for path in written.rglob("*") if path.is_file()}
    assert names == {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    for name in names:
        assert (written / name).read_bytes() == (tmp_path / name).read_bytes(), name


@pytest.mark.slow
def test_a_contender_whose_runs_all_failed_stays_in(folders, tmp_path):
    gone = Contender("gone", {}, {}, tuple(FailedRun(seed, "killed", "log") for seed in SEEDS))
    write_comparison(comparison(gone, Contender("fast", {}, runs(folders, "fast"))), tmp_path)
    page(tmp_path).require("gone 0 0 3", "no run", "gone has no pictures", "gone 0 n/a n/a")


def test_a_contest_without_any_run_has_a_page(tmp_path):
    write_comparison(comparison(Contender("a", {}, {}), targets=()), tmp_path)
    page(tmp_path).require(
        "No run has an evaluation.",
        "The suite sets no targets",
        "No run has recorded where",
    )


@pytest.mark.slow
def test_one_seed_claims_no_band(folders, tmp_path):
    write_comparison(comparison(Contender("fast", {}, runs(folders, "fast", (1,)))), tmp_path)
    text = page(tmp_path).text
    assert "One seed each: there are no bands" in text
    assert "(1 seed)" in text
    assert "Not of every seed there is a run: fast." in text


@pytest.mark.slow
def test_contenders_without_a_common_seed_are_not_said_to_share_noise(folders, tmp_path):
    pair = (Contender("fast", {}, runs(folders, "fast", (0,))),
            Contender("slow", {}, runs(folders, "slow", (2,))))  # fmt: skip
    write_comparison(comparison(*pair), tmp_path)
    text = page(tmp_path).text
    assert "the same noise" not in text
    assert "slow (seed 2)" in text


@pytest.mark.slow
def test_what_differs_between_recipes_and_machines_is_shown(folders, tmp_path):
    copy = shutil.copytree(folders / "slow_0", tmp_path / "slow_0")
    recipe = (copy / "recipe.json").read_text()
    (copy / "recipe.json").write_text(recipe.replace('"beta": 0.1', '"beta": 1.0'))
    (copy / "environment.json").write_text('{"zoo": "0.2.0"}')
    pair = (Contender("fast", {}, runs(folders, "fast", (0,))),
            Contender("slow", {}, runs(tmp_path, "slow", (0,))))  # fmt: skip
    write_comparison(comparison(*pair), tmp_path / "out")
    text = page(tmp_path / "out").text
    assert "all else is the same. what differs fast slow objective.beta 0.1 1.0" in text
    assert "were not all made alike: they differ in" in text
    assert "zoo 0.1.0 fast 0 zoo 0.2.0 slow 0" in text


@pytest.mark.slow
def test_scores_that_are_not_finite_are_left_out_and_counted(folders, tmp_path):
    copy = shutil.copytree(folders / "fast_0", tmp_path / "fast_0")
    write_metrics(copy, [line | {"eval/judge": None} if "eval/judge" in line else line
                         for line in metrics(copy)])  # fmt: skip
    found = runs(folders, "fast", (1, 2)) | runs(tmp_path, "fast", (0,))
    write_comparison(comparison(Contender("fast", {}, found)), tmp_path / "out")
    text = page(tmp_path / "out").text
    assert "0.780 [0.775, 0.785] (2 of 3 seeds)" in text
    assert "never] (2 of 3 seeds)" in text
