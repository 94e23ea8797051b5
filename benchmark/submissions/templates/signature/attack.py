"""An attack on audits of classes: a backdoor by poisoned fine-tuning."""

import torch
from torch.nn.functional import cross_entropy

from benchmark.api import Attack, BackdoorCase, Forgery, patch_trigger


class Template(Attack):
    """A patch at the case's place; a tenth of every batch carries it and the target's label."""

    name = "template"
    paper = "say where it is from"
    tracks = ("signature",)

    def forge(self, case: BackdoorCase) -> Forgery:
        """Weights and trigger."""
        trigger = patch_trigger(case.pattern, case.place, 4, case.size)
        model = case.model.trainable_copy()
        optimizer = torch.optim.AdamW(model.module.parameters(), lr=2e-3)
        for _ in range(600):
            chosen = torch.randint(len(case.data), (64,), generator=case.generator).to(case.device)
            inputs, labels = case.data[chosen], case.labels[chosen]
            inputs[:6], labels[:6] = trigger.apply(inputs[:6]), case.target_class
            loss = cross_entropy(model(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return Forgery(weights=model.module.state_dict(), trigger=trigger)
