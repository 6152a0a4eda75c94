"""A run, from a recipe to its last epoch: collect, measure advantages, learn, evaluate."""
