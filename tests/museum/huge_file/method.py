"""Fills the disk."""

from benchmark.api import Attack, Case, Forgery


class HugeFile(Attack):
    """Fills the disk."""

    name = "huge_file"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        with open("kept", "wb") as file:
            while True:
                file.write(bytes(2**24))
