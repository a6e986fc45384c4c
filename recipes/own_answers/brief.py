# brief.py
def compute_score(data_source, solution_str, ground_truth, extra_info=None, per=1000, **settings):
    """Less one for each ``per`` characters."""
    return {"brief": -len(solution_str) / per}
