"""The contract, tried: what `potemkin check` finds out about a submission before anybody runs it for real.

* ``findings``: what is said, and how it adds up to a verdict.
* ``papers``: what can be said without running a method: names, card, README.
* ``tiny``: a task per track that takes seconds.
* ``subjects``: a submitted variant, and the confined processes that it is asked in.
* ``attacks``, ``defenses``, ``repairs``: what is tried on methods of each kind; ``neighbours`` and
  ``batches``: whether samples interact.
* ``probes``: what runs beside the method, in its process.
* ``costs``: what a suite would take, extrapolated.
* ``checking``: all of it, in order.
"""
