"""What a kill leaves of a run goes at its next start, and nothing of anybody else."""

from zoo.run import leftovers

GO = (
    ".recipe.json-7-140", ".metrics.jsonl-7-140", ".end.json-7-140", ".contents.json-7-140",
    "evaluations/.000005.json-7-140", "images/.epoch_000005.png-7-140",
    "images/.before_after.png-7-140", "images/.parted_000005.png-7-140",
    "images/.left_000005.png-7-140", "images/.epoch_000005.webp-7-140",
    "images/.before_after.webp-7-140",
    "votes/images/.0123456789abcdef.png-7-140",
    "checkpoints/.new-000009-7/tensors.safetensors", "checkpoints/.old-000009-7/state.json",
)  # fmt: skip
STAY = (
    "recipe.json", ".report.html-7-140", ".mine-7-140", "images/.mine.png-7-140", "images/x.png",
    "votes/votes.jsonl", "votes/images/0123456789abcdef.png",
    "evaluations/.000005.json", "checkpoints/000005/state.json", "checkpoints/.mine/x", ".lock",
)  # fmt: skip


def test_only_what_a_run_writes_goes(tmp_path):
    for name in (*GO, *STAY):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    leftovers.remove(tmp_path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == set(STAY)
    leftovers.remove(tmp_path / "none")
