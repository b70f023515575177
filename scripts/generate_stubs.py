"""Generate the Python stubs and their type stubs from `protos/`.

Run by `make proto` inside the generator's own virtual environment. With `--out DIR` the stubs go
elsewhere, which is how the drift test compares them with the committed ones.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INCLUDES = (ROOT / "protos", ROOT / "third_party" / "protovalidate")


def generate(out: Path) -> None:
    """Write stubs for every .proto of both modules under `out`."""
    import grpc_tools  # noqa: PLC0415  only the generator's environment has it

    well_known = Path(grpc_tools.__file__).parent / "_proto"
    services = sorted(str(p.relative_to(INCLUDES[0])) for p in INCLUDES[0].rglob("*.proto"))
    vendored = sorted(str(p.relative_to(INCLUDES[1])) for p in INCLUDES[1].rglob("*.proto"))
    include_flags = [f"-I{path}" for path in (*INCLUDES, well_known)]
    # protoc finds the type-stub plugins beside the interpreter that runs this script.
    plugins = [
        f"--plugin=protoc-gen-{name}={Path(sys.executable).parent / f'protoc-gen-{name}'}"
        for name in ("mypy", "mypy_grpc")
    ]
    outputs = [f"--python_out={out}", f"--mypy_out=quiet:{out}"]
    base = [sys.executable, "-m", "grpc_tools.protoc", *include_flags, *plugins, *outputs]
    out.mkdir(parents=True, exist_ok=True)
    subprocess.run([*base, *vendored], check=True, cwd=ROOT)
    subprocess.run([*base, f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet:{out}", *services], check=True, cwd=ROOT)
    for stub in out.rglob("*_pb2_grpc.py"):
        # A file without services gets an empty stub that only checks versions.
        if "class " not in stub.read_text(encoding="utf-8"):
            stub.unlink()
            stub.with_suffix(".pyi").unlink(missing_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "service")
    generate(parser.parse_args().out.resolve())


if __name__ == "__main__":
    main()
