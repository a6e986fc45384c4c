"""Inputs on which checkers of this kind have hung or crashed: each gets its verdict within 3 seconds."""

from __future__ import annotations

import time

import pytest
from test_last_answer import PARTS

from verl_stepgrpo import compute_score
from verl_stepgrpo.judging.answers.judge import judge_answer
from verl_stepgrpo.judging.answers.last_answer import find_last_answer
from verl_stepgrpo.judging.sections import parse_sections

LIMIT = 3.0
"""Seconds of this process's own for one response; math-verify's process has a limit of its own."""

KEY_STEPS = [["6/3 = 2"], ["3 children"], ["parallel lines", "the lines are parallel"], ["x^2 = 9"]]
LONG = 100_000
HANGS = [
    "9^9^9^9",
    "9**9**9**9",
    "10^{10^{10}}",
    "(10^{10})!",
    "2^{99999999}",
    "x^{x^{x^{x}}}",
    "((((((((((((((((((((((((((((((1))))))))))))))))))))))))))))))",
    "9" * 100_000,
    "(" * 50_000,
    r"\frac{" * 5_000,
    r"\int_0^\infty e^{-x^2} dx",
]

ANSWERS = {
    "power tower": "9^9^9^9",
    "power tower in TeX": "10^{10^{10}}",
    "power tower in Python": "9**9**9**9",
    "power of a power": "((x^{60})^{60})^{60}",
    "expansion": "(a+b+c+d+f+g+h)^{60}",
    "difference of expansions": "(a+b+c+d+f+g)^{60}-(a+b+c+d+f+g)^{59}(a+b)",
    "factorial of a power": "(10^{10})!",
    "repeated factorial": "9!!!!!!",
    "tall exponent": "2^{99999999}",
    "tall binomial": "\\binom{1000000}{500000}",
    "symbolic tower": "x^{x^{x^{x}}}",
    "endless integral": "\\int_0^\\infty e^{-x^2} dx",
    "endless sum": "\\sum_{n=1}^{10^{9}} n",
    "many digits": "9" * LONG,
    "many decimals": "0." + "3" * LONG,
    "large scientific exponent": "1e999999999",
    "large power of ten": "10^{999}",
    "open parentheses": "(" * LONG,
    "nested parentheses": "(" * 500 + "1" + ")" * 500,
    "open fractions": "\\frac{" * (LONG // 6),
    "nested fractions": "\\frac{1}{" * 60 + "2" + "}" * 60,
    "nested roots": "\\sqrt{" * 60 + "2" + "}" * 60,
    "nested boxes": "\\boxed{" * 200 + "2" + "}" * 200,
    "many boxes": "\\boxed{2}" * 10_000,
    "dots": "." * LONG,
    "commas": "1," * (LONG // 2),
    "equals signs": "=" * LONG,
    "a chain of equations": "x=" * 5_000 + "2",
    "spaces": " " * LONG + "2",
    "line breaks": "2\n" * (LONG // 2),
    "words": "is " * (LONG // 3) + "2",
    "the the the": "the " * (LONG // 4) + "2",
    "dollars": "$" * LONG,
    "backslashes": "\\" * LONG,
    "carets": "2" + "^" * 500 + "2",
    "minus signs": "-" * 500 + "2",
    "combining marks": "2" + "\u0301" * LONG,
    "right-to-left marks": "\u202e2" * 1_000,
    "a lone surrogate": "\ud800 2",
    "a null character": "2\x00",
    "matrix": "\\begin{pmatrix}" + "1&2\\\\" * 50 + "\\end{pmatrix}",
    "system of equations": "\\begin{cases}x+y=1\\\\x-y=2\\end{cases}",
    "absolute values": "|" * 100 + "x" + "|" * 100,
    "trigonometry": "\\sin(\\cos(\\tan(\\sin(\\cos(\\tan(x))))))^{60}",
    "logarithms": "\\log(\\log(\\log(10^{60})))",
    "braces in braces": "{" * 20 + "9" + "}" * 20,
    "deep braces": "{" * 250 + "9" + "}" * 250,
    "brackets in brackets": "(" * 30 + "1,2" + ")" * 30,
    "a list with an endless element": "\\sin((a+b+c+d+f+g+h)^{60}), 2, 3, 4, 5",
    "fractional power": "(1+\\sqrt{2})^{64}-(1-\\sqrt{2})^{64}",
}
BODIES = {
    "spaces": " " * LONG,
    "one long word": "a" * LONG,
    "the words of a key step": "parallel " * (LONG // 9),
    "alternating words": "parallel lines " * (LONG // 15),
    "an expression without end": "6/3 = " * (LONG // 6),
    "numbers": "3 " * (LONG // 2),
    "numbers in words": "three " * (LONG // 6),
    "asterisks": "*a" * (LONG // 2),
    "underscores": "_ a" * (LONG // 3),
    "open braces": "\\frac{" * (LONG // 6),
    "words with open braces": "x{ " * (LONG // 3),
    "open groups of overs": "{x \\over y " * (LONG // 11),
    "open environments": "\\begin{align}" * (LONG // 13),
    "rows of an environment": "\\begin{align}" + "x &= 2 \\\\ " * (LONG // 10) + "\\end{align}",
    "equations on lines": "3 + 4 = 7\n" * (LONG // 10),
    "rows of different numbers": "".join(f"x = {n}\n" for n in range(LONG // 8)),
    "a chain of different numbers": " = ".join(map(str, range(LONG // 8))),
    "results that are not used": ". ".join(f"{n} + 1 = {n + 1}" for n in range(LONG // 15)),
    "verbs in front": "Adding 3 and 4 gives 7. " * (LONG // 24),
    "passives": "the dog is chased by the cat " * (LONG // 29),
    "nested braces": "{" * 15_000 + "}" * 15_000,
    "nested exponents": "x^{" * 5_000 + "2" + "}" * 5_000,
    "nested fractions": "\\frac{1}{" * 2_000 + "2" + "}" * 2_000,
    "roots": "√" * LONG,
    "open fences": "```a\n" * (LONG // 5),
    "headers": "### " * (LONG // 4),
    "lines of headers": "### x\n" * (LONG // 6),
    "many steps": "### Step 1:\n" * (LONG // 12),
    "denials": "not " * (LONG // 4) + "6/3 = 2",
    "hyphens": "a-" * (LONG // 2),
    "halves": "½" * 20_000,
    "squares": "x²" * 10_000,
    "Greek letters": "αn" * 10_000,
    "tildes": "~~a" * (LONG // 3),
}


def seconds_to_score(steps: str, answer: str, gold: str) -> float:
    response = (
        "### Image Description:\nx\n### Rationales:\nx\n### Let's think step by step.\n"
        f"### Step 1:\n{steps}\n### The final answer is: {answer}"
    )
    start = time.process_time()
    result = compute_score("hang", response, gold, {"key_steps": KEY_STEPS})
    assert 0.0 <= result["score"] <= 2.1 + 1e-9
    return time.process_time() - start


@pytest.fixture(scope="module", autouse=True)
def _started_checker() -> None:
    compute_score("hang", "### The final answer is: x+1", "1+x")


@pytest.mark.parametrize("gold", ["2", "x^2+1", "B", "yes", "(1, 2)", "1, 2, 3, 4, 5"])
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
def test_a_hostile_answer_gets_its_verdict_in_time(answer: str, gold: str) -> None:
    assert seconds_to_score("6/3 = 2", answer, gold) < LIMIT


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_a_hostile_step_gets_its_score_in_time(body: str) -> None:
    assert seconds_to_score(body, "2", "2") < LIMIT


@pytest.mark.parametrize("wording", [*ANSWERS.values(), *BODIES.values()], ids=[*ANSWERS, *BODIES])
def test_a_hostile_wording_of_a_key_step_is_no_trouble_either(wording: str) -> None:
    response = "### Step 1:\n6/3 = 2 parallel lines\n### The final answer is: 2"
    start = time.process_time()
    compute_score("hang", response, "2", {"key_steps": [[wording]]})
    assert time.process_time() - start < LIMIT


@pytest.mark.parametrize("answer", HANGS, ids=lambda text: text[:20])
@pytest.mark.parametrize("gold", ["8", "x^2+1"])
def test_endless_work_is_refused(answer: str, gold: str) -> None:
    start = time.process_time()
    assert not judge_answer(answer, gold).correct
    assert time.process_time() - start < LIMIT


@pytest.mark.parametrize("answer", ["\\sin(a+b+c+d+f+g+h)^{60}-\\sin 1", "\\cos x(a+b+c+d+f+g+h)^{60}"])
def test_what_the_guard_lets_through_is_killed_at_the_limit_and_counted(answer: str) -> None:
    start = time.process_time()
    verdict = judge_answer(answer, "x^2+1")
    assert (verdict.correct, verdict.timeout) == (False, True)
    assert time.process_time() - start < LIMIT
    assert judge_answer("x+1", "1+x").correct, "the worker was not replaced"


@pytest.mark.parametrize("part", PARTS, ids=repr)
def test_a_response_of_100_000_characters_takes_no_second(part: str) -> None:
    for text in (
        part * (100_000 // len(part)),
        part * (100_000 // len(part)) + " x",
        "Answer: " + part * 50_000,
    ):
        text = text[:100_000]
        sections = parse_sections(text)
        start = time.process_time()
        find_last_answer(text, sections)
        assert time.process_time() - start < 1.0
