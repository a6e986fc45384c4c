"""Raw datasets: which files they are, how they are laid out, and the item that each row holds.

May be imported by the rooms ``rows`` and ``key_steps`` and by the commands' work; imports ``prompts`` alone.
"""
