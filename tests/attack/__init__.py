"""Attacks at random, seeded: what is killed, malformed or hostile costs a line and never a run.

    pytest -m slow tests/attack                                 # a hundredth of the full goal
    ZOO_ATTACK=1 ZOO_ATTACK_SEED=0 pytest -m slow tests/attack  # 1,000 kills, 2,000 recipes, ...

Each logs how many cases it took (--log-cli-level=WARNING). ZOO_ATTACK_FIRST is the first case and
ZOO_ATTACK_SECONDS the time after which none is taken: the full goal in parts. A case depends on the
seed, its kind and its number alone. What one of them found has a test of its own where what was
mended is tested.
"""
