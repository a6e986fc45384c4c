"""What a response says and whether it is right: its sections, its key steps, its answer, its form.

Text in, verdicts out; ``rewards`` makes numbers of them. Imports nothing of this package but its errors.
"""
