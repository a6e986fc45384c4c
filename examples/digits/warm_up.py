"""verl's SFT trainer, ended where the model is right on a share of images that it was not trained on.

    torchrun --standalone --nproc_per_node=1 examples/digits/warm_up.py OVERRIDE... \
        +until.accuracy=0.5 +until.images=train.parquet

verl 0.9.1's own ends at a step. On this task accuracy rises from a tenth to most of the images within some 60 steps,
and with another seed earlier or later, so that a step says little about what is left for RL to teach. Here each
checkpoint answers some of RL's own images, and the first that is right on enough of them is the last. Leaves
``stopped.json`` beside the checkpoints: the step, the accuracy and the number of images. Overrides are verl's.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import hydra
from greedy import N_IMAGES
from verl.trainer.sft_trainer import SFTTrainer
from verl.utils.device import auto_set_device
from verl.utils.distributed import destroy_global_process_group, initialize_global_process_group


class ReachedError(Exception):
    """Ends verl's loop over steps, which has no other way out before its last."""


class WarmUp(SFTTrainer):
    """verl's trainer; ``until.accuracy`` is the share in [0, 1], ``until.images`` the file of the images.

    ``until.format`` is the format that the model answers in (the paper's).

    Raises:
        ReachedError: From ``fit``, once a checkpoint is right on that share. Where ``fit`` returns, none was.
    """

    def _build_ckpt_handler(self) -> None:
        super()._build_ckpt_handler()
        save = self.ckpt_handler.save_checkpoint
        # A process of its own, since verl has changed the model's class in this one. It ends with its input.
        command = [sys.executable, str(Path(__file__).with_name("greedy.py"))]
        command += [self.config.until.images, self.config.until.get("format", "mulberry")]
        self._greedy = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

        def save_and_ask(step: int) -> None:
            save(step)
            self._ask(step)

        self.ckpt_handler.save_checkpoint = save_and_ask

    def _ask(self, step: int) -> None:
        folder = Path(self.config.trainer.default_local_dir)
        print(folder / f"global_step_{step}" / "huggingface", file=self._greedy.stdin, flush=True)
        right = float(self._greedy.stdout.readline())
        is_enough = right >= self.config.until.accuracy
        # What comes before is verl's bar of progress, without an end of its line.
        print(
            f"\nwarm-up: step {step}: right on {right:.0%} of {N_IMAGES} images that RL will show"
            + (", which is enough: RL starts from here" if is_enough else ""),
            flush=True,
        )
        if is_enough:
            stopped = {"step": step, "accuracy": right, "n": N_IMAGES}
            (folder / "stopped.json").write_text(json.dumps(stopped) + "\n")
            raise ReachedError


@hydra.main(config_path="pkg://verl.trainer.config", config_name="sft_trainer_engine", version_base=None)
def main(config: Any) -> None:
    auto_set_device(config)
    initialize_global_process_group()
    try:
        WarmUp(config=config).fit()
    except ReachedError:
        return
    else:
        wanted = f"{config.until.accuracy:.0%}"
        print(f"warm-up: not right on {wanted} by its last step. Set WARMUP_STEPS higher.", flush=True)
        raise SystemExit(1)
    finally:
        destroy_global_process_group()


if __name__ == "__main__":
    main()
