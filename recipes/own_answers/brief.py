"""A part of one's own: less one for each 100 characters of a response (docs/own-parts.md)."""


def compute_score(data_source, solution_str, ground_truth, extra_info=None, **settings):
    return {"brief": -len(solution_str) / 100}
