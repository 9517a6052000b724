"""Do generated pictures show what their captions say? Runs on embedded scenes and on Flickr8k, against their goals.

    python benchmarks/text2image.py scenes runs/text2image_long --json benchmarks/results/text2image.json
    python benchmarks/text2image.py flickr runs/text2image_flickr runs/dcgan_flickr --root $I2I_DATA/flickr8k

`scenes` reports `caption_truth` on combinations that were never trained on; `flickr` the kernel distance of runs with
and without captions, and `caption_rank` of those with.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from i2i import api, config
from i2i.plugins import registry

GOALS = {"colour": 0.95, "place": 0.9, "count": 0.8, "shape": 0.8, "swapped/mean": 0.85, "kept/mean": 0.85}
SCENES = "{use: kid}", "{use: caption_truth, samples: 1024, swaps: 256}"


def main() -> None:
    """Print the scores and whether they reach the goals, and write them with --json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("scenes", "flickr"))
    parser.add_argument("runs", nargs="+", type=Path, help="folders of finished runs")
    parser.add_argument("--root", help="folder of Flickr8k")
    parser.add_argument("--weights-dir", help="folder with the weights of squeezenet")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    args = parser.parse_args()

    result: dict[str, Any] = {"command": shlex.join(["python", *sys.argv]), "runs": {}}
    for run in args.runs:
        tree = config.load(run / "config.yaml", [], registry().catalog).tree
        metrics = SCENES if args.what == "scenes" else photographs(tree["task"]["use"], args.weights_dir)
        changes = [f"metrics=[{', '.join(metrics)}]", *([f"data.root={args.root}"] if args.root else [])]
        scores = api.evaluate(run, *changes)
        result["runs"][str(run)] = {"steps": tree["train"]["steps"], "scores": scores}
        if args.what == "scenes":
            found = {name: scores[f"caption_truth/{name}"] for name in GOALS}
            result["runs"][str(run)]["goals"] = {
                name: {"goal": goal, "found": found[name], "reached": found[name] >= goal}
                for name, goal in GOALS.items()
            }
    print(json.dumps(result, indent=1))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


def photographs(task: str, weights_dir: str | None) -> list[str]:
    """Return the metrics of a task on photographs; only one that reads captions can be asked for their rank."""
    of = f"extractor: squeezenet{f', weights_dir: {weights_dir}' if weights_dir else ''}"
    return [f"{{use: kid, {of}}}", *([f"{{use: caption_rank, {of}}}"] if task == "text2image" else [])]


if __name__ == "__main__":
    main()
