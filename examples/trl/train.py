"""StepGRPO's rewards in TRL: GRPOTrainer on a file of ``verl-stepgrpo prepare``, with the settings of the paper.

    python examples/trl/train.py --model Qwen/Qwen2-VL-2B-Instruct --data prepared/rl-train.parquet --output_dir out

Every setting of TRL's ``GRPOConfig`` is an option too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from datasets import Image, List, load_dataset
from trl import GRPOConfig, GRPOTrainer, TrlParser

from verl_stepgrpo.adapters.trl import step_rar, step_rvr

PAPER = {
    "beta": 0.04,  # the KL penalty
    "learning_rate": 1e-6,
    "loss_type": "grpo",  # the mean within a response first, then over responses
    "max_completion_length": 1024,
    "num_generations": 4,  # the group
    "per_device_train_batch_size": 16,  # responses; 4 prompts on one GPU
    "scale_rewards": "group",  # divides by the standard deviation of the group, plus TRL's 1e-4
    "temperature": 1.2,
}


@dataclass
class Run:
    model: str
    data: str


def without_marks(row: dict[str, Any]) -> dict[str, Any]:
    """Return the prompt without ``<image>``: TRL puts the images before the text itself."""
    return {"prompt": [{**m, "content": m["content"].replace("<image>", "")} for m in row["prompt"]]}


def main() -> None:
    parser = TrlParser((Run, GRPOConfig))
    parser.set_defaults(**PAPER)
    run, config = parser.parse_args_and_config()
    dataset = load_dataset("parquet", data_files=run.data, split="train").map(without_marks)
    trainer = GRPOTrainer(
        model=run.model,
        reward_funcs=[step_rar, step_rvr],
        args=config,
        train_dataset=dataset.cast_column("images", List(Image())),
    )
    trainer.train()
    trainer.save_model()


if __name__ == "__main__":
    main()
