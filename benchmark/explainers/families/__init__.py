"""Explainers that a task may name, a file per family.

A file is found by being here. It says ``RECIPES: ByName[Recipe] = {...}``, a literal with an explainer's
name as each key; see :class:`benchmark.explainers.recipe.Recipe`.
"""
