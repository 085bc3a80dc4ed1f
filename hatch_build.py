"""Builds the two small libraries in C that the implementation needs, where they are imported from."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LIBRARIES = ("impl/vtpm_impl/ring/memory", "impl/vtpm_impl/xen/host/bits")
FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Werror", "-Wno-missing-field-initializers", "-fPIC", "-shared")


class CustomBuildHook(BuildHookInterface[Any]):
    """Compiles with the machine's own compiler for the Python that runs this."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build, for a wheel as for an editable installation."""
        del version
        if self.target_name != "wheel":
            return
        suffix = sysconfig.get_config_var("EXT_SUFFIX")
        for library in LIBRARIES:
            source, built = Path(self.root, f"{library}.c"), Path(self.root, f"{library}{suffix}")
            compiler = os.environ.get("CC", "gcc")
            # made beside and moved: whoever runs the one that is there keeps it
            made = built.with_suffix(".new")
            include = f"-I{sysconfig.get_path('include')}"
            subprocess.run([compiler, *FLAGS, include, str(source), "-o", str(made)], check=True)
            made.replace(built)
            build_data["artifacts"].append(f"/{library}{suffix}")
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
