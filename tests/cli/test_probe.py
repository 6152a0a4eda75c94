"""`zoo probe`: of a recipe by its name, and of a reward."""


def test_a_recipe_is_known_by_its_name(zoo_here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("nft_digits", "recipes/nft_digits.yaml"):
        ended = zoo_here("probe", name)
        assert ended.code == 0, ended.err
        assert [line.split()[0] for line in ended.out.splitlines()] == ["reward", "digit", "judge"]


def test_what_is_a_reward_s_name_too_is_the_reward(zoo_here):
    # There is a suite of that name.
    ended = zoo_here("probe", "scenes")
    assert ended.code == 0, ended.err
    assert [line.split()[0] for line in ended.out.splitlines()] == ["reward", "scenes"]


def test_a_name_of_neither_is_refused(zoo_here):
    # The second is a suite.
    for name in ("nft_digit", "scenes_far"):
        ended = zoo_here("probe", name)
        assert ended.code == 2
        assert f"unknown reward '{name}'" in ended.err
