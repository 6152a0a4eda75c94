"""Means of scores with standard errors over prompts, of all images and of those of each tag.

Images of one prompt are alike, so images are not independent and prompts are taken to be: errors
are clustered by prompt (Liang and Zeger 1986, with the factor G / (G - 1) for G clusters; Miller
2024, arXiv 2411.00640, section 2.2, without it). With n valid images of mean m,

    variance = G / (G - 1) * sum over prompts of (sum over its valid images of x - m)^2 / n^2,

which for equally many images of each is the variance of the prompts' means, divided by G.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from zoo.prompt import Prompt

MEAN_OF_TAGS = "mean_of_tags"
"""What the mean over tags of the tags' means is called: GenEval's overall score is such a one."""

_MOST_TAGS = 50
"""Prompts of more tags than these have no kinds, but names."""


@dataclass(frozen=True)
class Estimate:
    """A mean over valid images. The error is NaN for fewer than two prompts, both for none."""

    mean: float
    standard_error: float
    num_images: int
    num_invalid: int


@dataclass(frozen=True)
class Summary:
    """A score over all images; and, where prompts have tags, over each and over the tags' means."""

    overall: Estimate
    tags: Mapping[str, Estimate] = field(default_factory=dict)
    mean_of_tags: Estimate | None = None


def estimate(
    values: Float[Tensor, " images"], cluster: Int[Tensor, " images"] | None = None
) -> Estimate:
    """The mean of the values that are not NaN; without clusters each is one of its own."""
    valid = ~values.isnan()
    mean, num = float(values.nanmean()), int(valid.sum())
    of = torch.arange(len(values)) if cluster is None else cluster
    found, place = torch.unique(of[valid], return_inverse=True)
    clusters = len(found)
    error = math.nan
    if clusters > 1:
        away = values[valid].double() - values[valid].double().mean()
        sums = torch.zeros(clusters, dtype=torch.float64).index_add(0, place, away)
        error = math.sqrt(clusters / (clusters - 1) * float(sums.square().sum())) / num
    return Estimate(mean, error, len(values), len(values) - num)


def clusters(prompts: Sequence[Prompt]) -> Int[Tensor, " prompts"]:
    """The cluster of each prompt: prompts of one text are one."""
    first: dict[str, int] = {}
    return torch.tensor([first.setdefault(p.text, i) for i, p in enumerate(prompts)])


def summaries(
    scores: Mapping[str, Float[Tensor, " images"]],
    prompts: Sequence[Prompt],
    group: Int[Tensor, " images"],
) -> dict[str, Summary]:
    """Every score's summary; `group` is each image's prompt. Prompts of one text are one cluster.

    It is of the images that the reward was to score: see `Prompt.asks`. A score that is one tag's
    already, `accuracy/counting` beside `accuracy`, is not cut again.
    """
    texts = clusters(prompts)
    tags = _tags(prompts)
    found = {}
    for name, values in scores.items():
        stem, _, last = name.rpartition("/")
        asked = torch.tensor([_asks(prompt, name) for prompt in prompts])[group]
        overall = estimate(values[asked], texts[group][asked])
        if not tags or (last in tags and stem in scores):
            found[name] = Summary(overall)
            continue
        parts = {}
        for tag, own in tags.items():
            mine = own[group] & asked
            if mine.any():
                parts[tag] = estimate(values[mine], texts[group][mine])
        found[name] = Summary(overall, parts, _mean_of(list(parts.values())) if parts else None)
    return found


def _asks(prompt: Prompt, name: str) -> bool:
    """Whether a score is to be had of a prompt's images: a reward's, or what it records besides."""
    labels = prompt.judged_by
    return labels is None or any(name == each or name.startswith(f"{each}/") for each in labels)


def metrics(found: Mapping[str, Summary]) -> dict[str, float]:
    """The means alone, flat: `name`, `name/<tag>` and `name/mean_of_tags`."""
    flat = {name: summary.overall.mean for name, summary in found.items()}
    for name, summary in found.items():
        for tag, part in summary.tags.items():
            flat.setdefault(f"{name}/{tag}", part.mean)
        if summary.mean_of_tags is not None:
            flat[f"{name}/{MEAN_OF_TAGS}"] = summary.mean_of_tags.mean
    return flat


def tag_of(prompt: Prompt) -> str | None:
    """The kind of prompt that its metadata names, as GenEval's do."""
    tag = prompt.metadata.get("tag")
    return None if tag is None else str(tag)


def tags_of(prompts: Sequence[Prompt]) -> list[str | None]:
    """The kind of each prompt; of none where there are more than 50, which are names."""
    named = [tag_of(prompt) for prompt in prompts]
    return [None] * len(named) if len({*named} - {None}) > _MOST_TAGS else named


def _tags(prompts: Sequence[Prompt]) -> dict[str, Tensor]:
    """Which prompts have each tag, in the order of their first."""
    named = tags_of(prompts)
    distinct = [tag for tag in dict.fromkeys(named) if tag is not None]
    return {tag: torch.tensor([each == tag for each in named]) for tag in distinct}


def _mean_of(parts: Sequence[Estimate]) -> Estimate:
    """Of means of different prompts, each counting the same; NaN if any is."""
    return Estimate(
        sum(part.mean for part in parts) / len(parts),
        math.sqrt(sum(part.standard_error**2 for part in parts)) / len(parts),
        sum(part.num_images for part in parts),
        sum(part.num_invalid for part in parts),
    )
