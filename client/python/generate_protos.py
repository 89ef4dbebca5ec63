"""Generates tidegate/_proto from proto/protos; with --check, only says whether what is committed is current.

    pip install grpcio-tools==1.85.1
    python client/python/generate_protos.py [--check]

Only messages are generated, no stubs: a generated stub refuses every grpcio older than its generator, and the client needs
nothing from it but a method's name.
"""

from __future__ import annotations

import argparse
import filecmp
import re
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROTOS = HERE.parent.parent / "proto" / "protos"
OUT = HERE / "tidegate" / "_proto"
# The .proto packages start with `tidegate`, as does this one; the generated modules live one level further down.
IMPORT = re.compile(r"^from tidegate\.", re.MULTILINE)
# A field named `bytes` hides the type of that name in the stubs.
BYTES = re.compile(r"(?:(?<=: )|(?<=\[)|(?<=, ))bytes(?=\]|,|$| \|)", re.MULTILINE)


def generate(into: Path) -> None:
    """Writes the generated package into the folder `into`."""
    from grpc_tools import protoc

    with tempfile.TemporaryDirectory() as temporary:
        files = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
        arguments = ["protoc", f"-I{PROTOS}", f"--python_out={temporary}", f"--pyi_out={temporary}", *files]
        if protoc.main(arguments) != 0:
            raise SystemExit("protoc failed; its messages are above")
        root = Path(temporary) / "tidegate"
        for path in sorted(root.rglob("*_pb2.py*")):
            target = into / path.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            text = IMPORT.sub("from tidegate._proto.", path.read_text())
            if path.suffix == ".pyi":
                text = "import builtins as _builtins\n" + BYTES.sub("_builtins.bytes", text)
            target.write_text(text)
    for folder in [into, *(path for path in into.rglob("*") if path.is_dir() and path.name != "__pycache__")]:
        (folder / "__init__.py").write_text("")


def stale(committed: Path) -> list[str]:
    """The files that differ from what would be generated now."""
    with tempfile.TemporaryDirectory() as temporary:
        fresh = Path(temporary)
        generate(fresh)
        names = {
            str(path.relative_to(root))
            for root in (fresh, committed)
            for path in root.rglob("*.py*")
            if path.suffix in (".py", ".pyi")
        }
        return sorted(
            name
            for name in names
            if not (fresh / name).exists()
            or not (committed / name).exists()
            or not filecmp.cmp(fresh / name, committed / name, shallow=False)
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when something is out of date")
    if not parser.parse_args().check:
        generate(OUT)
        return
    if names := stale(OUT):
        sys.exit("out of date, run client/python/generate_protos.py: " + ", ".join(names))


if __name__ == "__main__":
    main()
