"""Generates the wire code and the descriptor set from the .proto files: `python -m protos.generate`.

Needs grpcio-tools and betterproto2_compiler, which only development installs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent
GENERATED = ROOT / "generated"
DESCRIPTORS = "descriptors.binpb"  # what server reflection answers from


def generate(into: Path) -> None:
    """Writes the code and the descriptor set of all .proto files into an empty folder."""
    sources = sorted(str(path.relative_to(ROOT)) for path in ROOT.rglob("*.proto"))
    into.mkdir(parents=True, exist_ok=True)
    # The compiler's plugin, and the formatter that it calls, live beside the interpreter.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}"
    subprocess.run(
        [
            sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT}",
            f"--python_betterproto2_out={into}",
            "--python_betterproto2_opt=client_generation=async,server_generation=async",
            f"--descriptor_set_out={into / DESCRIPTORS}", "--include_imports",
            *sources,
        ],
        check=True, cwd=ROOT, env={"PATH": path},
    )  # fmt: skip
    for name in ("__init__.py", "py.typed"):
        (into / name).touch()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "generated"
        generate(made)
        shutil.rmtree(GENERATED, ignore_errors=True)
        shutil.copytree(made, GENERATED)


if __name__ == "__main__":
    main()
