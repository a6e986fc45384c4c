"""From raw datasets to verl's parquet: sources, prompts, rows and key steps, each in its room. No torch, no verl.

``prepare`` and ``lint`` stand above the rooms; the commands import them.
"""
