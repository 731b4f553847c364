"""mypyc by way of setuptools: `python extensions.py build_ext --inplace`, in a folder with a copy of the package."""

from __future__ import annotations

from compiling import GROUP, SETTINGS, listed
from mypyc.build import mypycify
from setuptools import setup

OPTIMIZE = "2"
"""-O3 takes longer to build and is no faster here."""

TOLERANT = "-Wno-error"
"""A warning of a C compiler that mypyc's authors have not met yet is no reason to go without."""

modules = mypycify(["--config-file", SETTINGS, *listed()], opt_level=OPTIMIZE, debug_level="0", group_name=GROUP)
for module in modules:
    module.extra_compile_args.append(TOLERANT)
setup(name="raftcache-native", packages=[], ext_modules=modules)
