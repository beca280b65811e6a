"""`python -m local_dev.examples NAME`: make the example's project, run the sample night in it, show what it adds."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml

from local_dev.examples.making import about, make, names
from trapline.cli import interrupt, jobs
from trapline.cli.demo import JOB, run_demo
from trapline.cli.place import Place, embedded_place
from trapline.errors import TraplineError

_SHOWN = 2  # entries of a list that are printed; how many more there are is said
_FEW = 12  # detections of the picture that is shown, at most
_HASH = 64  # digits of a sha256
_USUAL = ("image", "stages", "source", "station", "revision", "state", "key")


def main() -> None:
    """Read the options and do it."""
    options = _options()
    interrupt.listen()
    try:
        if options.name is None:
            _list()
            return
        _run(options.name, options.folder or Path(f"trapline-{options.name}"), made_only=options.make)
    except TraplineError as error:
        sys.exit(str(error))
    except interrupt.Interrupted:
        print("\nStopped; run it again and it goes on.", file=sys.stderr)
        interrupt.leave()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local_dev.examples", description=__doc__)
    parser.add_argument("name", nargs="?", help="an example; without it, they are listed")
    parser.add_argument("folder", nargs="?", type=Path, help="where its project is made (default: trapline-NAME)")
    parser.add_argument("--make", action="store_true", help="make the project and run nothing")
    return parser.parse_args()


def _list() -> None:
    width = max(map(len, names()))
    for name in names():
        print(f"{name:<{width}}  {about(name)}")


def _run(name: str, folder: Path, *, made_only: bool) -> None:
    if not (folder / "pipeline.yaml").is_file():
        make(name, folder)
        print(f"The project is in {folder}; its pipeline.yaml and README.md say what is special about it.")
    if made_only:
        return
    place = embedded_place(folder, folder / "trapline-data")
    sys.argv[0] = str(Path(sys.executable).with_name("trapline"))  # the program that the demo's last lines name
    run_demo(folder, place.data, 0)
    rel, line = _telling(place)
    print(f"\nWhat the results say of {rel}, shortened:")
    print(
        yaml.safe_dump(_short(line), sort_keys=False, default_flow_style=None, allow_unicode=True, width=200).rstrip()
    )
    print(f"\nRead on in {folder / 'README.md'}; `cd {folder}` first, and the commands there work.")


def _telling(place: Place) -> tuple[str, dict[str, Any]]:
    """A picture whose few detections differ most in what is known of them, and what the results say of it."""
    store = place.store()
    summary = jobs.summary_of(store, place.layout, JOB)
    file = next((file for file in summary.files if file.name == "results.jsonl"), None) if summary else None
    lines = [json.loads(line) for line in store.get(file.key).data.splitlines()] if file else []
    some = [line for line in lines if 0 < len(line["detections"] or ()) <= _FEW]
    shown = max(some, key=lambda line: (len(_kinds(line)), -len(line["detections"])))
    told = [f"… {len(shown['detections']) - len(_kinds(shown))} more like these"]
    rel = str(shown.pop("rel"))
    line = {name: value for name, value in shown.items() if name not in _USUAL}
    return rel, line | {"detections": [*_kinds(shown).values(), *told]}


def _kinds(line: dict[str, Any]) -> dict[tuple[str, ...], dict[str, Any]]:
    """The first detection of each kind: what is known of them."""
    return {tuple(sorted(one)): one for one in reversed(line["detections"])}


def _short(value: Any) -> Any:
    """Long lists cut, and hashes."""
    if isinstance(value, dict):
        return {name: _short(inner) for name, inner in value.items()}
    if isinstance(value, list) and len(value) > _SHOWN + 1 and not all(isinstance(v, float) for v in value):
        return [*map(_short, value[:_SHOWN]), f"… {len(value) - _SHOWN} more"]
    if isinstance(value, list):
        return [_short(inner) for inner in value]
    if isinstance(value, str) and len(value) == _HASH:
        return f"{value[:8]}…"
    return value


if __name__ == "__main__":
    main()
