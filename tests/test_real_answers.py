"""Answers as models write them, by the kind of spelling or sentence that has to be read."""

from __future__ import annotations

import pytest

from verl_stepgrpo.judging.answers.judge import judge_answer

LETTER_WITH_TEXT = [
    ("(B) No", "B"),
    ("B. False", "B"),
    ("A: false", "A"),
    ("C. Wood or plastic", "C"),
    ("(D) Neither of these, but both are close", "D"),
    ("(D) Cannot be determined", "D"),
    ("D: A and C", "D"),
    ("(E) A, B and C are correct", "E"),
    ("C. B", "C"),
    ("(A) A", "A"),
    ("C. 2.86 A", "C"),
    ("D. (E) I, II, and III", "D"),
    ("H. The lens is not in focus", "H"),
    ("C. Will not grow", "C"),
    ("The answer is (B) no.", "B"),
    ("**C. 5C3*4C3**", "C"),
    ("- **Answer:** E", "E"),
    ('So, the correct answer to "Is teal the darkest?" is (B), no.', "B"),
    ("The answer is A, Yes.", "A"),
    ("B, which corresponds to 50 degrees", "B"),
    ("The option that could raise the number of fish is (A) more plankton.", "A"),
    ("Option E is the only option that is not true.", "E"),
    ("所以，答案是 (C) 27°。", "C"),
    ("所以答案为:D", "D"),
    ("所以，选项 (A) 2.4 是正确答案。", "(A) 2.4"),
    ("所以，∠A的度数为27°，选项为(C)。", "(C) 27°"),
    ("The organism is the lizard. (C)", "(C) lizard"),
    ("The ports are in the (B) lower half of the mould.", "(B) lower half"),
    ("The smallest group is (E) 0-5.", "(E) 0-5"),
    ("C. Too high, because it was measured twice.", "(C) Too high, because it was measured twice."),
    ("612 Hz", "(D) 612 Hz"),
    ("(D) 612 Hz", "612 Hz"),
    ("(B) 58800 Pa", "58800 Pa"),
    (r"9(\pi-2)", r"(D) $9(\pi-2)$"),
    ("[0, 2)", "(A) [0, 2)"),
    ("LiOH(aq)", "(A) LiOH(aq)"),
    ("f has its maximum on the line x = y.", "(A) f has its maximum on the line x = y."),
]
NO_LETTER = [
    ("(B) or (C)", "B"),
    ("(B), (C)", "B"),
    ("A. red B. green C. blue", "A"),
    ("(A) red (B) green", "A"),
    ("(B) is wrong", "B"),
    ("(B) cannot be right", "B"),
    ("B. Wait, it is C", "B"),
    ("It is not (B).", "B"),
    ("Either (B) or (C)", "C"),
    ("The wrong option is (B).", "B"),
    ("Both (A) and (B)", "B"),
    ("180", "(E) 180(n-4)"),
    ("[0, 1]", "(A) (0, 1)"),
    ("(-1,2)", "(B) $(-1,2]$"),
    ("(u, v) = (1, 0)", "(A) (u, v) = (0, 0)"),
    ("Picture B. (B)", "(D) (b)"),
]
SPELLINGS = [
    ("2√2", "2√{2}"),
    (r"\frac{\sqrt{15}}{2}", r"\frac{√{15}}{2}"),
    ("3250", r"3,\!250"),
    (r"900,\!000,\!000", "900000000"),
    (r"The number of bowls with the red ball not on top is \(\boxed{18}\).", "18"),
    (r"The number of factors of 34 or multiples of 7 is \(\boxed{6}\).", "6"),
    ("**9π**", "9π"),
    ("**2 × 5**", "2 × 5"),
    ("**$x_1, x_2$**", "x_1, x_2"),
    (r"\frac 1 2", "0.5"),
    ("x != 3", r"x \neq 3"),
    ("x == 3", "x = 3"),
    ("60 º", r"60^\circ"),
    ("η", r"\eta"),
    (r"\boxed{(1, 2)}, \boxed{(2, 1)}", "(1, 2), (2, 1)"),
]
NOT_THE_BOX = [
    (r"The answer is not \boxed{18}.", "18"),
    (r"A wrong answer is \boxed{18}.", "18"),
    (r"Maybe the answer is \boxed{18}.", "18"),
    (r"It is \boxed{18} or more.", "18"),
    (r"\boxed{18} is incorrect", "18"),
]
SENTENCES = [
    ("The difference between two ticks on the axis is 5.", "5"),
    ("The number of boxes with exactly 56 pins is 0.", "0"),
    ("There are 3 bars with values below 40.", "3"),
    ("So there is 1 block that has exactly 36 houses.", "1"),
    ("After taking the blue balls and the large ones away, 2 balls are left.", "2"),
    ("10% of the people like it least.", "10"),
    ("She wrote a total of 679 words on Monday and Tuesday.", "679"),
    ("The number of things that are either blue or round is 4.", "4"),
    ("There are 25 - 8 = 17 oranges.", "17"),
    ("The perimeter is 3 cm + 3 cm + 3 cm = 9 cm.", "9"),
    ("Together they have 50 coins + 70 coins = 120 coins.", "120"),
    ("So she has $80 - $20 = $60 left.", "60"),
    ("In 3 years he will be 18 + 3 = 21 years old.", "21"),
    ("He paid $18 x 2 = $36 for the 2 shirts.", "36"),
    ("25/100 x 40 = 10 of the plants have flowers.", "10"),
    ("It weighs 1000g + 1600g = 2600g.", "2600"),
    ("If we share 36 eggs among 4 children, each gets 36/4 = 9", "9"),
    ("Ann drank 20 cups and now 4 less, or 20-4=16 cups.", "16"),
    ("20 / 3 = 6.67 dollars each", "6.67"),
]
NO_SENTENCE = [
    ("Nobody says the area is 24.", "24"),
    ("It is unlikely that there are 24 of them.", "24"),
    ("There are 24 more than 5.", "24"),
    ("There are 24 times 3 cars.", "24"),
    ("There are 24 dozen eggs.", "24"),
    ("The opposite of it is 24.", "24"),
    ("There are not 24 bars.", "24"),
    ("There are 25 - 8 = 18 oranges.", "18"),
    ("There are 25 - 8 = 17 oranges, so 34 in two bags.", "17"),
    ("It is not 25 - 8 = 17.", "17"),
    ("12 = 12, 20 = 20", "20"),
    ("She has 3 red ones and 4 blue ones.", "3"),
    ("2 * y = 3", "3"),
]


@pytest.mark.parametrize(("answer", "gold"), [*LETTER_WITH_TEXT, *SPELLINGS, *SENTENCES])
def test_it_is_read(answer: str, gold: str) -> None:
    assert judge_answer(answer, gold).correct, judge_answer(answer, gold)


@pytest.mark.parametrize(("answer", "gold"), [*NO_LETTER, *NOT_THE_BOX, *NO_SENTENCE])
def test_it_is_refused(answer: str, gold: str) -> None:
    assert not judge_answer(answer, gold).correct, judge_answer(answer, gold)
