"""Faults on real processes: `plan` decides from a seed which, on whom and when, `director` carries it out.

Each fault is a `api.Nemesis`: `processes` has those on processes, `links` those on links, `files` those on disks, and
`table` all of them by name.
"""
