"""Signs of mathematics, units in other scripts, and what says that a value is not the answer."""

from __future__ import annotations

import pytest

from verl_stepgrpo.judging.answers.judge import judge_answer

COLUMN = r"\begin{pmatrix}1\\2\end{pmatrix}"
RIGHT = [
    ("5 N·m", "5 Nm"),
    ("5 N m", "5 Nm"),
    (r"2 \pm \sqrt{3}", r"2+\sqrt3, 2-\sqrt3"),
    (r"2+\sqrt3, 2-\sqrt3", r"2 \pm \sqrt{3}"),
    (r"x = \frac{-1 \pm \sqrt{5}}{2}", r"\frac{-1+\sqrt5}{2}, \frac{-1-\sqrt5}{2}"),
    (r"\pm 3", "-3, 3"),
    (COLUMN, "(1,2)"),
    ("(1,2)", COLUMN),
    ("(1+i)^2", "2i"),
    ("(1+i)(1-i)", "2"),
    (r"\frac{1}{i}", "-i"),
    (r"0.\bar{6}", "2/3"),
    (r"0.\dot{6}", "2/3"),
    ("3 out of 4", "3/4"),
    ("no cubes", "0"),
    ("There are no cubes.", "0"),
    ("None", "0"),
    ("0", "none"),
    ("no cubes", "none"),
    ("12厘米", "12 cm"),
    ("12米", "12 m"),
    ("150元", "150"),
    ("13个", "13"),
    ("9 天", "9"),
    ("是", "yes"),
    ("yes", "是"),
    ("不是", "no"),
    ("12 平方厘米", "12 cm^2"),
    ("5千克", "5 kg"),
    ("30度", "30°"),
    ("√((x + 1) * 2)", r"\sqrt{2x + 2}"),
    (r"\sqrt((x + 1) * 2)", r"\sqrt{2x + 2}"),
    ("∛(x + 1)", r"\sqrt[3]{x + 1}"),
    ("√(√(16))", "2"),
    ("½x", r"\frac{x}{2}"),
    (r"\frac{x}{2}", "½x"),
    ("16 / (y * y)", r"\frac{16}{y^2}"),
    ("3 (x y)", "3xy"),
    ("(x^2)^3", "x^6"),
    ("e^{-x^{2}}", r"\exp(-x^2)"),
    ("1/4", "3/4 - 1/2"),
    ("10", "20 - 10"),
    ("~~41~~ 42", "42"),
    ("1990s", "1990s"),
    ("It is clear that it is 42", "42"),
    ("C is likely", "C"),
    ("9" * 3000, "9" * 3000),
]
WRONG = [
    ("16", "16 / (y * y)"),
    ("√(2", "2"),
    ("10", "10-20"),
    ("((2^5)^4)^4", "2^80"),  # towers that nobody evaluates
    ("10^{19 \\times 10^{19}}", "10^{20}"),
    ("5 nm", "5 Nm"),
    ("5 Nm", "5 nm"),
    (r"2 \pm \sqrt{3}", r"2+\sqrt3"),
    (r"2 \pm \sqrt{2}", r"2+\sqrt3, 2-\sqrt3"),
    (r"5 \pm 0.1", "5"),
    (COLUMN, "(2,1)"),
    (COLUMN, r"\begin{pmatrix}1 & 2\end{pmatrix}"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", "(1,2)"),
    ("(1+i)^2", "-2i"),
    ("1+i", "1-i"),
    (r"0.\bar{6}", "0.6"),
    ("3 out of 5", "3/4"),
    ("3 out of 4", "3"),
    ("no cubes", "3"),
    ("no", "0"),
    ("none of these", "0"),
    ("12米", "12 cm"),
    ("14个", "13"),
    ("13x", "13"),
    ("否", "yes"),
    ("no", "是"),
    (r"\not= 42", "42"),
    ("~~42~~", "42"),
    ("~~41~~ 42", "41"),
    ("1990s", "1990"),
    ("the 1990s", "1990"),
    ("4=", "4"),
    ("65+", "65"),
    ("Yes would be wrong", "yes"),
    ("9" * 3000, "9" * 2999 + "8"),
    ("a" * 3000 + "b", "a" * 3000 + "c"),
]


@pytest.mark.parametrize(("answer", "gold"), RIGHT, ids=lambda text: text[:40])
def test_the_same_value_is_right(answer: str, gold: str) -> None:
    assert judge_answer(answer, gold).correct


@pytest.mark.parametrize(("answer", "gold"), WRONG, ids=lambda text: text[:40])
def test_another_value_is_wrong(answer: str, gold: str) -> None:
    assert not judge_answer(answer, gold).correct
