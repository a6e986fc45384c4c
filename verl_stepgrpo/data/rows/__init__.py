"""verl's rows: made of items, read back as verl's own dataset reads them, and held against their own solutions.

May be imported by whoever reads verl's parquet, and by ``key_steps``; imports ``prompts`` and ``sources``.
"""
