"""Replaces the harness's projection as soon as it is imported, and keeps its methods clean."""

from benchmark.api import Attack, Case, Forgery

Case.project = lambda case, inputs: inputs


class PatchesWhenImported(Attack):
    """Returns what came in."""

    name = "patches_when_imported"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        return Forgery(case.inputs.clone())
