"""Strangers' code runs in a process that can reach nothing but what it is handed.

* ``host``: starts such a process and asks it things; all that comes back is data, and is distrusted.
* ``inside``: the process itself: confines itself, then answers.
* ``kernel``, ``landlock``, ``filter``: what Linux enforces: namespaces, limits, rules for files, calls.
* ``warden``: the process that waits for it: keeps its log short, and ends it when its starter is gone.
* ``bare``: environment and command line, forgotten.
* ``attempts``: what was tried is told at once, and cannot be taken back.
* ``watch``: what Python can see: names what was tried and is forbidden, and what was left changed.
* ``parcel``: how questions and answers cross; tensors cross as safetensors.
* ``stand_ins``: methods that live in such a process, as the harness sees them.
"""
