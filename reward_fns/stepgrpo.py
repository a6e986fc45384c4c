"""The StepGRPO score as a file for verl's ``reward.custom_reward_function.path``.

For users who keep another reward manager:

    reward.custom_reward_function.path=reward_fns/stepgrpo.py
    +reward.custom_reward_function.reward_kwargs.alpha=0.1

Its settings are ``reward_kwargs``, the fields of ``RewardSettings``: verl gives a reward function no access to
``algorithm.stepgrpo``.
"""

from verl_stepgrpo import compute_score

__all__ = ["compute_score"]
