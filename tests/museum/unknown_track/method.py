"""Is for a track that there is not."""

from benchmark.api import Attack, Case, Forgery


class UnknownTrack(Attack):
    """Would never run."""

    name = "unknown_track"
    paper = "made for a test"
    tracks = ("salience",)

    def forge(self, case: Case) -> Forgery:
        return Forgery(case.inputs.clone())
