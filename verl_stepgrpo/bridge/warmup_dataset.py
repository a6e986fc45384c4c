"""The warm-up's dataset: verl's own, for rows with and without images in one file, and for files that are large enough.

Selected by the config groups ``stepgrpo_warmup`` with verl's own setting, ``data.custom_cls``.
"""

from __future__ import annotations

from typing import Any

from verl.utils.dataset.multiturn_sft_dataset import MultiTurnSFTDataset

from verl_stepgrpo.counts import counted
from verl_stepgrpo.errors import ConfigError


class WarmupDataset(MultiTurnSFTDataset):
    """verl 0.9.1's ``MultiTurnSFTDataset``, without two ways in which it ends a warm-up in its middle.

    Raises:
        ConfigError: The training file has fewer rows than one batch; verl would divide by its number of batches.
    """

    def __init__(self, parquet_files: Any, tokenizer: Any, config: Any, **options: Any) -> None:
        super().__init__(parquet_files=parquet_files, tokenizer=tokenizer, config=config, **options)
        batch_size = config.train_batch_size
        if parquet_files == config.train_files and len(self) < batch_size:
            rows = counted(len(self), "row")
            raise ConfigError(
                f"data.train_batch_size={batch_size}, and {parquet_files} has {rows}: not one batch. Set "
                f"data.train_batch_size to {len(self)} or less, or prepare more rows."
            )

    def __getitem__(self, item: int) -> dict[str, Any]:
        row = super().__getitem__(item)
        # Its collator takes the keys of all rows from the first one, and rows without images lack this one.
        row.setdefault("multi_modal_inputs", {})
        return row
