"""Who is to blame for what goes wrong in a process that methods share.

The project's own methods were reviewed, a stranger's were not, and whatever is in the process can end it,
hang it or speak for it: so it is the stranger's fault. Where two strangers share a process (an attack and a
defense that were both submitted) nobody can tell, since either could speak for the other. Then it is the one
that was asked.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from benchmark.failures import Blame, Status, StepFailed


@dataclass(frozen=True)
class Company:
    """The methods in one process.

    Args:
        members: variants of all of them.
        strangers: variants of those that are not the project's own.
    """

    members: Collection[str]
    strangers: Collection[str]

    def culprit(self, asked: str, claimed: object = None) -> str:
        """Variant of the method to blame.

        Args:
            asked: the method that was asked when it happened.
            claimed: whom the process itself names. It is believed only where no stranger speaks.
        """
        if not self.strangers:
            return claimed if isinstance(claimed, str) and claimed in self.members else asked
        if len(self.strangers) == 1:
            return next(iter(self.strangers))
        return asked if asked in self.strangers else min(self.strangers)

    def failure(self, status: Status, asked: str, reason: str, claimed: object = None) -> StepFailed:
        """The failure of whoever is to blame, and why it is that one where it is not plain."""
        culprit = self.culprit(asked, claimed)
        blame: Blame = "" if status == "skipped" else "method"
        return StepFailed(status, blame, reason + self._remark(culprit, asked, claimed), culprit)

    def _remark(self, culprit: str, asked: str, claimed: object) -> str:
        others = sorted(set(self.members) - {culprit})
        if not self.strangers or not others:
            return ""
        if culprit != asked:
            return f" (in a process with {asked}, which is the project's own and not to blame)"
        if len(self.strangers) > 1 and claimed != culprit:
            return f" (in a process with {others[0]}, also submitted: which of the two did it cannot be told)"
        return ""
