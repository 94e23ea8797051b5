"""Names one track again and again."""

from benchmark.api import Attack, Case, Forgery


class OneTrackOver(Attack):
    """Would change nothing."""

    name = "one_track_over"
    paper = "made for a test"
    tracks = ("saliency",) * 100_000

    def forge(self, case: Case) -> Forgery:
        return Forgery(case.inputs.clone())
