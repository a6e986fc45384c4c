"""How commands run: processes that end with their parent, many at once, going on where one ended, and which code it is.

Imports ``errors`` and ``files`` alone; imported wherever a command or a run works.
"""
