"""Attacks at random, seeded: what is killed, malformed or hostile costs a line and never a run.

    pytest -m slow tests/attack                                 # a hundredth of the full goal
    ZOO_ATTACK=1 ZOO_ATTACK_SEED=0 pytest -m slow tests/attack  # 1,000 kills, 2,000 recipes, ...

What one of them found has a test of its own where what was mended is tested. A case depends on the
seed, its kind and its number alone.
"""
