"""A raw dataset in R1-VL-10K's layout, on real images of scikit-learn and scikit-image, some rows of text alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image
from sklearn.datasets import load_digits

SOLUTION = """### Image Description:
{description}
### Rationales:
{rationale}
### Let's think step by step.
{steps}
### The final answer is: {answer}"""

PHOTOGRAPHS = [
    (
        "coins",
        "How many coins are there?",
        ("Coins lie in 4 rows of 6.", "Multiply rows by columns."),
        ("There are 4 rows.", "Each row has 6 coins.", "4 * 6 = 24"),
        "24",
    ),
    (
        "chelsea",
        "Which animal is this? A. dog B. cat",
        ("A face with whiskers and pointed ears.", "Compare with the animals in the choices."),
        ("It has whiskers.", "It has pointed ears, so it is a cat."),
        "B. cat",
    ),
    (
        "coffee",
        "How many cups are there?",
        ("A cup on a saucer, with a spoon.", "Count the cups, not the saucer."),
        ("There is 1 saucer.", "On it stands 1 cup."),
        "1",
    ),
    (
        "rocket",
        "Does the rocket stand on the ground?",
        ("A rocket above flames.", "Look at what is below it."),
        ("There are flames below the rocket.", "It has left the ground."),
        "No",
    ),
]


def write_raw_dataset(folder: Path, n_digits: int = 28) -> Path:
    """Write ``raw.json`` and its images into ``folder``, the last row broken on purpose; return the JSON's path."""
    (folder / "images").mkdir(parents=True)
    rows = [*_texts(4), *_photographs(folder / "images"), *_digits(folder / "images", n_digits)]
    rows.append({**rows[-1], "image_path": "missing.png"})
    path = folder / "raw.json"
    path.write_text(json.dumps(rows, indent=1))
    return path


def _texts(n: int) -> Iterator[dict]:
    for i in range(n):
        row = _row("", f"What is {i} + 3?", "", "Add them.", (f"{i} + 3 = {i + 3}",), str(i + 3))
        solution = row["solution"][row["solution"].index("### Rationales:") :]
        yield {"problem": row["problem"], "solution": solution}


def _photographs(folder: Path) -> Iterator[dict]:
    for name, question, (description, rationale), steps, answer in PHOTOGRAPHS:
        Image.fromarray(getattr(skimage.data, name)()).resize((168, 112)).save(folder / f"{name}.png")
        yield _row(name, question, description, rationale, steps, answer)


def _digits(folder: Path, n: int) -> Iterator[dict]:
    digits = load_digits()
    for i in range(n):
        a, b = (int(digits.target[j]) for j in (2 * i, 2 * i + 1))
        pixels = np.hstack([digits.images[2 * i], digits.images[2 * i + 1]]) * 255 / 16
        Image.fromarray(pixels.astype(np.uint8)).resize((112, 56)).save(folder / f"digits-{i}.png")
        yield _row(
            f"digits-{i}",
            "What is the sum of the two digits?",
            "Two handwritten digits.",
            "Read both digits and add them.",
            (f"The first digit is {a}.", f"The second digit is {b}.", f"{a} + {b} = {a + b}"),
            str(a + b),
        )


def _row(
    image: str, question: str, description: str, rationale: str, steps: tuple[str, ...], answer: str
) -> dict:
    body = "\n".join(f"### Step {i}:\n{text}" for i, text in enumerate(steps, start=1))
    solution = SOLUTION.format(description=description, rationale=rationale, steps=body, answer=answer)
    return {"image_path": f"{image}.png", "problem": question, "solution": solution}
