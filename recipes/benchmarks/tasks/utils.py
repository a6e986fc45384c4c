"""The eight benchmarks of the R1-VL paper for lmms-eval, asked in the StepGRPO format and judged on the final answer.

Each function is the harness's own for that benchmark, with two changes: the question has the request for the format
behind it (instead of "answer with a single word" and the like), and what is judged is the final answer alone. A
response without a final answer is judged as an empty one, as StepRAR has it.

lmms-eval finds this file beside the YAML files that name its functions (``!function utils.NAME``).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from lmms_eval.tasks.chartqa import utils as chartqa
from lmms_eval.tasks.dynamath.reasoning import utils as dynamath
from lmms_eval.tasks.hallusion_bench import evaluate_hb as hallusion
from lmms_eval.tasks.mathverse import utils as mathverse
from lmms_eval.tasks.mathvision import utils as mathvision
from lmms_eval.tasks.mathvista import utils as mathvista
from lmms_eval.tasks.mme import utils as mme
from lmms_eval.tasks.mmstar import utils as mmstar

from verl_stepgrpo.data.prompts.text import with_request
from verl_stepgrpo.judging.sections import final_answer, parse_sections

Doc = dict[str, Any]
_LETTER = re.compile(r"\(?([A-H])\)?(?:[.:,)\s]|$)")
PLAIN = {"pre_prompt": "", "post_prompt": ""}


def asks(original: Callable[..., str], settings: dict[str, Any]) -> Callable[..., str]:
    """Return ``doc_to_text`` that puts the request for the format behind the harness's own question."""

    def doc_to_text(doc: Doc, lmms_eval_specific_kwargs: dict[str, Any] | None = None) -> str:
        return with_request(original(doc, settings).strip(), has_image=True)

    return doc_to_text


def extracts(
    original: Callable[..., dict], write: Callable[[Doc, str], str] = lambda doc, answer: answer
) -> Callable[..., dict]:
    """Return ``process_results`` that gives the harness's own the final answer, as ``write`` has it for a question."""

    def process_results(doc: Doc, results: list[str]) -> dict:
        answers = [final_answer(parse_sections(response)) or "" for response in results]
        return original(doc, [write(doc, answer) for answer in answers])

    return process_results


def letter_of(doc: Doc, answer: str) -> str:
    """Return the letter of a choice that an answer begins with ("B. cat"), else the answer."""
    match = _LETTER.match(answer)
    return match[1] if match else answer


def choice_of(doc: Doc, answer: str) -> str:
    """Return the content of the choice whose letter an answer begins with: the harness's own would ask a judge."""
    letter, choices = letter_of(doc, answer), doc["choices"] or []
    place = ord(letter) - ord("A") if len(letter) == 1 else len(choices)
    return choices[place] if 0 <= place < len(choices) else answer


def tagged(doc: Doc, answer: str) -> str:
    return f"<answer>{answer}</answer>"


def mathvision_question(doc: Doc, settings: dict[str, Any]) -> str:
    """The harness's own asks for a box."""
    choices = "\n".join(f"{chr(ord('A') + i)}. {choice}" for i, choice in enumerate(doc["options"]))
    return doc["question"] + (f"\nChoices:\n{choices}" if choices else "")


chartqa_doc_to_visual = chartqa.chartqa_doc_to_visual
chartqa_doc_to_text = asks(chartqa.chartqa_doc_to_text, PLAIN)
chartqa_process_results = extracts(chartqa.chartqa_process_results)

dynamath_doc_to_visual = dynamath.dynamath_doc_to_visual
dynamath_doc_to_text = asks(dynamath.dynamath_doc_to_text_cot, {})
dynamath_process_results = extracts(dynamath.dynamath_process_results, tagged)
dynamath_aggregate_results_average = dynamath.dynamath_aggregate_results_average
dynamath_aggregate_results_worst = dynamath.dynamath_aggregate_results_worst

hallusion_doc_to_visual = hallusion.hb_doc_to_visual
hallusion_doc_to_text = asks(hallusion.hb_doc_to_text, PLAIN)
hallusion_process_results = extracts(hallusion.hb_process_results)
hallusion_all = hallusion.hb_aggregation_result_aAcc
hallusion_question = hallusion.hb_aggregation_result_qAcc
hallusion_figure = hallusion.hb_aggregation_result_fAcc

mathverse_doc_to_visual = mathverse.mathverse_doc_to_visual
mathverse_doc_to_text = asks(
    mathverse.mathverse_doc_to_text, {"shot_type": "custom-prompt", "query_type": "query_wo"}
)
mathverse_process_results = extracts(mathverse.mathverse_process_results)
mathverse_aggregate_results_eval = mathverse.mathverse_aggregate_results_eval

mathvision_doc_to_visual = mathvision.mathvision_doc_to_visual
mathvision_doc_to_text = asks(mathvision_question, {})
mathvision_process_results = extracts(mathvision.mathvision_process_results, letter_of)
mathvision_aggregate_results_eval = mathvision.mathvision_aggregate_results_eval

mathvista_doc_to_visual = mathvista.mathvista_doc_to_visual
mathvista_doc_to_text = asks(
    mathvista.mathvista_doc_to_text,
    {"shot_type": "solution", "shot": 0, "use_caption": False, "use_ocr": False},
)
mathvista_process_results = extracts(mathvista.mathvista_process_results, choice_of)
mathvista_aggregate_results = mathvista.mathvista_aggregate_results

mme_doc_to_visual = mme.mme_doc_to_visual
mme_doc_to_text = asks(mme.mme_doc_to_text, PLAIN)
mme_process_results = extracts(mme.mme_process_results)
mme_aggregate_results = mme.mme_aggregate_results

mmstar_doc_to_visual = mmstar.mmstar_doc_to_visual
mmstar_doc_to_text = asks(mmstar.mmstar_doc_to_text, PLAIN)
mmstar_process_results = extracts(mmstar.mmstar_process_results, letter_of)
mmstar_aggregate_results = mmstar.mmstar_aggregate_results
