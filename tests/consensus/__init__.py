"""The guarded consensus by itself: its journal, its messages, what a `Group` promises, and defects that were found.

The scripts run in the laboratory of `tests/hazards`, on our engine only. A test named after a regression says in its
docstring what went wrong.
"""
