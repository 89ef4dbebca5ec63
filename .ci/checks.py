"""Holds the structure: who may depend on whom, sizes, one version of the shared crates, and the compose file.

usage: checks.py [--compose BINARY]    without --compose: everything that needs no build
Prints one line for each breach and exits with 1 if there is any.
"""
import argparse
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LINES_MAX = 900
STARTUP_LINES_MAX = 60

# package: crates that must not be anywhere among its (normal) dependencies
FORBIDDEN_CRATES = {
    "tidegate-schemas": ["tokio", "tonic", "datafusion", "rocksdb", "tidegate-proto", "tidegate-offline", "tidegate-online"],
    "tidegate-proto": ["datafusion", "rocksdb", "tidegate-offline", "tidegate-online"],
    "tidegate-offline": ["rocksdb", "tonic", "tidegate-proto", "tidegate-online"],
    "tidegate-online": ["datafusion", "tonic", "tidegate-proto", "tidegate-offline"],
    "tidegate-client": ["datafusion", "rocksdb", "tidegate-offline", "tidegate-online"],
    "tidegate-cli": ["datafusion", "rocksdb", "tidegate-offline", "tidegate-online"],
}

# folder or file: what its sources must not mention, and why
FORBIDDEN_WORDS = [
    ("server/src/service", r"\b(tonic|axum|tidegate_proto|arrow_flight)::", "use cases know no transport"),
    ("server/src/materialize", r"\b(tonic|axum|tidegate_proto|arrow_flight)::", "jobs know no transport"),
    ("server/src/registry", r"\b(tonic|axum|tidegate_proto|arrow_flight)::", "the registry knows no transport"),
    ("server/src/sealed", r"\b(tonic|axum|tidegate_proto|arrow_flight)::", "seals know no transport"),
    ("server/src/serve", r"\b(datafusion|deltalake|rocksdb|tidegate_offline|tidegate_online)::", "doors know no engine"),
    ("schemas/src/definition.rs", r"\bSerialize\b", "domain types are not persisted forms"),
    ("schemas/src/catalog.rs", r"\bSerialize\b", "domain types are not persisted forms"),
    ("schemas/src/types.rs", r"\bSerialize\b", "domain types are not persisted forms"),
    ("schemas/src/time.rs", r"\bSerialize\b", "domain types are not persisted forms"),
]

ONE_VERSION = r"^(arrow|arrow-[a-z]+|parquet|datafusion|datafusion-[a-z-]+|tonic|deltalake|deltalake-core|prost|rocksdb) v"


def cargo_tree(*arguments):
    command = ["cargo", "tree", "--locked", "--prefix", "none", *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()


def crates(lines):
    return {line.split()[0] for line in lines if line.strip()}


def check_directions():
    for package, forbidden in FORBIDDEN_CRATES.items():
        present = crates(cargo_tree("-p", package, "-e", "normal"))
        for crate in sorted(present.intersection(forbidden)):
            yield f"{package} depends on {crate}; `cargo tree -p {package} -e normal -i {crate}` shows how"


def check_one_version():
    for line in cargo_tree("--workspace", "-d", "--depth", "0"):
        if re.match(ONE_VERSION, line):
            yield f"more than one version: {line.split(' (')[0]}"


def sources(folder="."):
    base = ROOT / folder
    if base.is_file():
        return [base]
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", folder], cwd=ROOT, check=True, capture_output=True, text=True)
    paths = [ROOT / name for name in listed.stdout.splitlines() if name.endswith((".rs", ".py", ".proto"))]
    return [path for path in paths if path.exists() and not is_generated(path)]


def is_generated(path):
    return "generated" in path.parts or "_proto" in path.parts


def check_words():
    for folder, pattern, why in FORBIDDEN_WORDS:
        for path in sources(folder):
            for number, line in enumerate(path.read_text().splitlines(), 1):
                if re.search(pattern, line) and not line.lstrip().startswith("//"):
                    yield f"{path.relative_to(ROOT)}:{number}: {line.strip()!r}: {why}"


def check_sizes():
    for path in sources():
        lines = len(path.read_text().splitlines())
        if lines > LINES_MAX:
            yield f"{path.relative_to(ROOT)} has {lines} lines, over {LINES_MAX}"
    for path in [*sources("server/src/main.rs"), *sources("server/src/app")]:
        yield from check_function_sizes(path)


def check_function_sizes(path):
    start, name = 0, None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        opened = re.match(r"(\s*)(?:pub(?:\([a-z]+\))? )?(?:async )?fn (\w+)", line)
        if opened and name is None:
            start, name, indent = number, opened[2], opened[1]
        if name and line == indent + "}":
            if number - start + 1 > STARTUP_LINES_MAX:
                yield f"{path.relative_to(ROOT)}:{start}: fn {name} has {number - start + 1} lines, over {STARTUP_LINES_MAX}"
            name = None


def check_compose(binary):
    import yaml

    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    help_text = subprocess.run([binary, "serve", "--help"], check=True, capture_output=True, text=True).stdout
    verbs = subprocess.run([binary, "--help"], check=True, capture_output=True, text=True).stdout
    declared = set(compose.get("volumes", {}))
    for name, service in compose["services"].items():
        build = service.get("build")
        if build:
            dockerfile = pathlib.Path(build.get("context", ".")) / build.get("dockerfile", "Dockerfile")
            if not (ROOT / dockerfile).is_file():
                yield f"docker-compose.yml: {name}: no {dockerfile}"
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source not in declared and not (ROOT / source).exists():
                yield f"docker-compose.yml: {name}: volume {source} is neither declared nor a file"
        command = service.get("command", [])
        words = command.split() if isinstance(command, str) else command
        if words and words[0] == "serve":
            yield from (f"docker-compose.yml: {name}: `serve` has no {flag}" for flag in flags(words) if flag not in help_text)
    yield from check_dockerfile(help_text, verbs)


def check_dockerfile(help_text, verbs):
    text = (ROOT / "Dockerfile").read_text()
    for line in text.splitlines():
        copied = re.match(r"COPY (?!--from)(.+) \S+$", line)
        for source in copied[1].split() if copied else []:
            if not source.startswith("--") and not (ROOT / source).exists():
                yield f"Dockerfile: no {source}"
    if not re.search(r"^USER (?!root|0)\S+", text, re.MULTILINE):
        yield "Dockerfile: the image must not run as root"
    for flag in flags(re.findall(r'"([^"]+)"', " ".join(re.findall(r"^(?:CMD|ENTRYPOINT) (.*)$", text, re.MULTILINE)))):
        if flag not in help_text and flag not in verbs:
            yield f"Dockerfile: `tidegate serve` has no {flag}"


def flags(words):
    return [word.split("=")[0] for word in words if word.startswith("--")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--compose", metavar="BINARY", help="check the Dockerfile and the compose file against this binary's flags")
    arguments = parser.parse_args()
    if arguments.compose:
        breaches = list(check_compose(arguments.compose))
    else:
        breaches = [*check_directions(), *check_one_version(), *check_words(), *check_sizes()]
    for breach in breaches:
        print(f"error: {breach}")
    print(f"checks: {'ok' if not breaches else f'{len(breaches)} breaches'}")
    sys.exit(1 if breaches else 0)


if __name__ == "__main__":
    main()
