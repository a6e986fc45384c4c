"""A prompt: its text, its images and their marks, and how many tokens a model's processor makes of them.

May be imported by all of ``data`` and by what reads verl's rows; imports no other room of ``data``.
"""
