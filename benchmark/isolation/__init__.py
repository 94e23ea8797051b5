"""Strangers' code runs in a process that can reach nothing but what it is handed.

* ``host``: starts such a process and asks it things; all that comes back is data, and is distrusted.
* ``inside``: the process itself: confines itself, then answers.
* ``kernel``: what Linux enforces: namespaces, a filter of system calls, limits.
* ``watch``: what Python can see: names what was tried and is forbidden, and what was left changed.
* ``parcel``: how questions and answers cross; tensors cross as safetensors.
* ``stand_ins``: methods that live in such a process, as the harness sees them.
"""
