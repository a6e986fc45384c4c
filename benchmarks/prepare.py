"""Memory of ``verl-stepgrpo prepare`` as the dataset grows, in Mulberry-260k's layout.

    python benchmarks/prepare.py                 # 26,000 and 260,000 rows; about 15 minutes on 2 cores
    python benchmarks/prepare.py --sizes 2600 26000

Rows have a photograph of scikit-learn's (image paths, so that the disk is not what is measured) and a solution in five
steps; memory is the peak of the resident set of the command and of all its processes, read 5 times a second.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from memory import peak_of
from PIL import Image
from sklearn.datasets import load_sample_images

SOLUTION = """### Image Description:
A photograph with {n} things of {a} each.
### Rationales:
Multiply, then take off what is hidden.
### Let's think step by step.
### Step 1:
There are {n} things.
### Step 2:
Each has {a} parts.
### Step 3:
{n} * {a} = {product}
### Step 4:
{b} of the parts are hidden.
### Step 5:
{product} - {b} = {rest}
### The final answer is: {rest}"""


def write_source(folder: Path, rows: int) -> Path:
    path = folder / f"source-{rows}.json"
    with path.open("w") as file:
        for i in range(rows):
            n, a, b = 2 + i % 97, 2 + i // 97 % 89, i % 3
            solution = SOLUTION.format(n=n, a=a, b=b, product=n * a, rest=n * a - b)
            turns = [
                {"role": "user", "content": f"<image>\nHow many parts are to be seen of number {i}?"},
                {"role": "assistant", "content": solution},
            ]
            text = json.dumps({"messages": turns, "images": ["photograph.png"]})
            file.write(("[" if i == 0 else ",\n") + text)
        file.write("]\n")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[26_000, 260_000])
    parser.add_argument("--num-proc", type=int, default=2)
    args = parser.parse_args()

    print("| rows | MiB, first process | MiB, all processes |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Image.fromarray(load_sample_images().images[0]).resize((224, 168)).save(folder / "photograph.png")
        for rows in args.sizes:
            source = write_source(folder, rows)
            command = [sys.executable, "-m", "verl_stepgrpo", "prepare", str(source), "--no-embed-images"]
            command += ["--out", str(folder / f"out-{rows}"), "--num-proc", str(args.num_proc)]
            first, everything = peak_of(command)
            report = json.loads((folder / f"out-{rows}" / "report.json").read_text())
            if report["read"] != rows or report["dropped"]:
                raise SystemExit(f"{rows} rows were expected, all good; the report says {report}")
            print(f"| {rows:,} | {first} | {everything} |", flush=True)


if __name__ == "__main__":
    main()
