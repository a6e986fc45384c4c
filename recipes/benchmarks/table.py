"""Print the results of lmms-eval in the layout of the paper's Table 1, beside the paper's numbers.

python recipes/benchmarks/table.py out/r1vl_qwen2vl_2b/rl/model/benchmarks [name=folder ...]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

COLUMNS = {
    "MathVista": ("stepgrpo_mathvista", ("llm_as_judge_eval",), 1),
    "MMStar": ("stepgrpo_mmstar", ("average",), 100),
    "MathVision": ("stepgrpo_mathvision", ("mathvision_standard_eval",), 1),
    "ChartQA": ("stepgrpo_chartqa", ("relaxed_overall",), 100),
    "DynaMath": ("stepgrpo_dynamath", ("dynamath_average",), 100),
    "HallusionBench": ("stepgrpo_hallusionbench", ("aAcc", "qAcc", "fAcc"), 1),
    "MathVerse": ("stepgrpo_mathverse", ("gpt_eval_score",), 100),
    "MME": ("stepgrpo_mme", ("mme_perception_score", "mme_cognition_score"), 1),
}
"""By benchmark: the task, its metrics (a sum for MME, else their mean), and what makes points of them."""

PAPER = {
    "Qwen2-VL-2B (paper)": (43.0, 48.0, 12.4, 73.5, 24.9, 41.7, 19.7, 1872),
    "R1-VL-2B (paper)": (52.1, 49.8, 17.1, 75.2, 29.4, 44.0, 26.2, 2048),
    "Qwen2-VL-7B (paper)": (58.2, 60.7, 16.3, 83.0, 42.1, 50.6, 32.5, 2327),
    "R1-VL-7B (paper)": (63.5, 60.0, 24.7, 83.9, 45.2, 54.7, 40.0, 2376),
}
"""arXiv 2503.12937, Table 1."""


def results_of(folder: Path) -> dict[str, dict[str, float]]:
    """Return the newest results of each task below ``folder``, metrics without their filter's name."""
    found: dict[str, dict[str, float]] = {}
    for path in sorted(folder.rglob("*_results.json")):
        for task, metrics in json.loads(path.read_text())["results"].items():
            found[task] = {name.partition(",")[0]: value for name, value in metrics.items()}
    return found


def cells(results: dict[str, dict[str, float]]) -> list[str]:
    written = []
    for benchmark, (task, metrics, factor) in COLUMNS.items():
        values = [results.get(task, {}).get(metric) for metric in metrics]
        numbers = [float(value) for value in values if value is not None]  # MathVista's is text
        if len(numbers) < len(metrics):
            written.append("-")
        elif benchmark == "MME":
            written.append(f"{sum(numbers):.0f}")
        else:
            written.append(f"{factor * sum(numbers) / len(numbers):.1f}")
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "folders", nargs="+", help="folders of results, each with a name before it or not: name=folder"
    )
    args = parser.parse_args()

    print("| model | " + " | ".join(COLUMNS) + " |")
    print("|" + "---|" * (len(COLUMNS) + 1))
    for name, values in PAPER.items():
        print(f"| {name} | " + " | ".join(f"{v:g}" if v > 100 else f"{v:.1f}" for v in values) + " |")
    for text in args.folders:
        name, _, folder = text.rpartition("=")
        print(f"| {name or folder} | " + " | ".join(cells(results_of(Path(folder)))) + " |")


if __name__ == "__main__":
    main()
