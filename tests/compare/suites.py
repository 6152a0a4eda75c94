"""Small suites of the digits recipes, and their runs without a process."""

import json
from pathlib import Path

from tests.runs import RECIPES
from zoo.compare.planned_runs import budget_of, plan_runs
from zoo.compare.process import ProcessRunner
from zoo.compare.runner import SuiteRunner
from zoo.compare.suite import load_suite
from zoo.plan.geometry import plan
from zoo.recipe.recipe import load_recipe
from zoo.run import folder as run_dir
from zoo.storage import files as json_file

SMALL = """common:
  data: {groups_per_epoch: 5, group_size: 4}
  sampler: {steps: 3}
  optim: {updates_per_epoch: 2}
  eval: {every: 2, images_per_prompt: 1, steps: 2}
  checkpoint: {every: 1}
  engine: {micro_batch: {sample: 6, train: 7}}
"""
BOTH = f"contenders:\n  nft: {{}}\n  flow_grpo: {{extends: {RECIPES['flow_grpo']}}}\n"


def write(folder, *, budget="{epochs: 2}", seeds="[0, 1]", rest=SMALL + BOTH):
    """A suite's file."""
    path = folder / "suite.yaml"
    head = f"name: small\nrecipe: {RECIPES['nft']}\nseeds: {seeds}\nbudget: {budget}\n"
    path.write_text(head + rest)
    return path


def one_process(recipe):
    return plan(recipe, 1)


def planned(path, out, overrides=(), *, tiny=False):
    """What the suite asks for."""
    written = load_suite(path, overrides)
    return written, plan_runs(written, out, one_process, tiny=tiny)


def suite_runner(path, out, say, overrides=()):
    written, every = planned(path, out, overrides)
    return SuiteRunner(written, every, budget_of(written, tiny=False), out, say)


class Recorder(ProcessRunner):
    """Makes the folder of a run that ended, or what `outcomes` has for its name; its process ends
    at the first look, or at that of `looks`.
    """

    def __init__(self, outcomes=None, looks=None):
        super().__init__()
        self.started, self.places = [], {}
        self.outcomes, self.looks = outcomes or {}, looks or {}
        self.at_once = self.most_at_once = 0

    def start(self, arguments, log, environment):
        recipe = load_recipe(recipe_path(arguments), begun=True)
        self.started.append((recipe.name, arguments[1] == "--resume"))
        self.places[recipe.name] = environment
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        with log.open("a") as file:
            file.write(f"{recipe.name} starts\n")

        def end():
            self.at_once -= 1
            return self.outcomes.get(recipe.name, ended)(self, recipe, log)

        return Looked(end, self.looks.get(recipe.name, 1))


class Looked:
    """A process that ends at the look of a number, as `end` does."""

    def __init__(self, end, looks):
        self.end, self.looks, self.code = end, looks, None

    def poll(self):
        self.looks -= 1
        if self.looks == 0:
            self.code = self.end()
        return self.code


def recipe_path(arguments):
    if arguments[1] == "--resume":
        return Path(arguments[2]) / "recipe.json"
    return Path(arguments[1])


def ended(recorder, recipe, log):
    """A run that came to its end."""
    folder = run_dir.create(recipe)
    last = {"epoch": recipe.epochs, "seconds": 1.0, "eval/judge": 0.5}
    (folder / "metrics.jsonl").write_text(f"{json_line({'epoch': 0})}{json_line(last)}")
    end = {"epoch": recipe.epochs, "reason": "epochs", "text": f"all {recipe.epochs} epochs"}
    json_file.write(folder / run_dir.END, end)
    return 0


def interrupted(recorder, recipe, log):
    """A run that saved after its first epoch, since it was asked to stop."""
    folder = run_dir.create(recipe)
    (folder / "checkpoints" / "000001").mkdir(parents=True)
    recorder.asked.append(15)
    return 143


def fails(recorder, recipe, log):
    """A run that says why."""
    with log.open("a") as file:
        file.write("a line\nerror: the reward is out\nsomething after\n")
    return 1


def json_line(data):
    return json.dumps(data) + "\n"
