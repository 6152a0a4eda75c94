"""Recipes: YAML files that say everything about a run. Start at `zoo.recipe.recipe`."""
