"""Key steps for a dataset: by rules, from a model, or mined from responses, and written beside its rows.

May be imported by ``lint`` and the commands; imports the rooms ``prompts``, ``sources`` and ``rows``.
"""
