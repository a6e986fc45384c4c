"""Raw files as they are met: odd JSON, names that are nearly ours, solutions that turn back."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path

import pytest

from verl_stepgrpo import DataError
from verl_stepgrpo.data.sources.items import Item, RowError, item_of, key_steps_of, read_items

ROW = {"question": "How many?", "answer": "7"}


def unread(row: dict) -> list[str]:
    return [name for name, _ in item_of(0, row).unread]


class TestFiles:
    @pytest.mark.parametrize("name", ["raw.json", "raw.jsonl", "raw.JSONL", "raw.JSON"])
    def test_the_mark_of_utf_8_and_capitals_in_the_name_do_no_harm(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name
        text = json.dumps(ROW if name.lower().endswith("jsonl") else [ROW])
        path.write_bytes(b"\xef\xbb\xbf" + text.encode())
        assert [item.answer for _, item in read_items(path) if isinstance(item, Item)] == ["7"]

    def test_a_file_of_another_kind_is_called_by_its_name(self, tmp_path: Path) -> None:
        path = tmp_path / "raw.json"
        text = json.dumps([ROW])
        for write, said in (
            (lambda: path.write_bytes(gzip.compress(text.encode())), "is packed with gzip"),
            (lambda: path.write_text(text, encoding="utf-16"), "is UTF-16: save it as UTF-8"),
        ):
            write()
            with pytest.raises(DataError, match=said):
                list(read_items(path))

    @pytest.mark.parametrize(
        ("bad", "near"),
        [
            (b'"answer": NaN', "near '.*NaN"),
            ('"answer": "Größe"'.encode("latin-1"), "near '"),
            (b'"answer": "\xc0\xaf"', ": 'utf-8' codec can't decode byte 0xc0"),
            (b'"\xed\xa0\x80": 1', ": 'utf-8' codec can't decode byte 0xed"),
        ],
    )
    def test_the_bad_place_of_a_list_is_named(self, tmp_path: Path, bad: bytes, near: str) -> None:
        path = tmp_path / "raw.json"
        good = json.dumps(ROW).encode()
        path.write_bytes(b"[" + good + b",\n" + good + b',\n{"question": "x?", ' + bad + b"}]")
        found = read_items(path)
        assert [next(found)[0], next(found)[0]] == [0, 1]
        with pytest.raises(DataError, match=rf"row 2 \(counted from 0\) cannot be read ?{near}") as error:
            next(found)
        assert "b'" not in str(error.value)
        assert "lexical" not in str(error.value)

    @pytest.mark.parametrize("answer", ["NaN", "Infinity", "null"])
    def test_a_missing_number_is_no_answer(self, tmp_path: Path, answer: str) -> None:
        path = tmp_path / "raw.jsonl"
        path.write_text(f'{{"question": "How many?", "answer": {answer}}}')
        ((_, item),) = read_items(path)
        assert isinstance(item, Item)
        assert item.answer is None

    @pytest.mark.parametrize("key", ["question", "solution", "answer", "key_steps", "image"])
    def test_half_a_character_is_an_error_of_its_row_and_named(self, tmp_path: Path, key: str) -> None:
        path = tmp_path / "raw.jsonl"
        broken = {**ROW, "id": "\ud83d", key: ["a\ud83d"] if key == "key_steps" else "a\ud83d"}
        path.write_text("\n".join(map(json.dumps, (ROW, broken, ROW))))
        items = [item for _, item in read_items(path)]
        assert [type(item) for item in items] == [Item, RowError, Item]
        assert "half of a character" in str(items[1])
        assert str(items[1]).isascii()
        assert items[1].id == "\\ud83d"

    @pytest.mark.parametrize("key", ["key_steps", "visual_key_steps"])
    def test_half_a_character_in_a_text_of_json_is_one_of_its_key_steps(self, key: str) -> None:
        item = item_of(0, {**ROW, key: '[["3 \\ud83d apples"]]'})
        with pytest.raises(DataError, match=r"^a key step holds '\\ud83d', half of a character"):
            key_steps_of(item)

    def test_a_line_that_is_nested_too_deeply_is_an_error_of_its_own(self, tmp_path: Path) -> None:
        path = tmp_path / "raw.jsonl"
        path.write_text("\n".join((json.dumps(ROW), '{"key_steps": ' + "[" * 100_000, json.dumps(ROW))))
        items = [item for _, item in read_items(path)]
        assert [type(item) for item in items] == [Item, RowError, Item]
        assert str(items[1]) == "the line is not JSON: nested too deeply"

    @pytest.mark.parametrize("bracket", ["[", '{"a": '])
    def test_a_list_that_is_nested_too_deeply_is_refused_within_memory(
        self, tmp_path: Path, bracket: str
    ) -> None:
        path = tmp_path / "raw.json"
        path.write_text("[" + json.dumps(ROW) + ', {"key_steps": ' + bracket * 10_000)
        found = read_items(path)
        assert next(found)[0] == 0
        tracemalloc.start()
        with pytest.raises(DataError, match=r"row 1 .* cannot be read: nested more than 500 deep"):
            next(found)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 16 << 20, "that many brackets take 250 MB where the way to each is spelled out"

    def test_a_row_that_is_no_item_keeps_its_name(self, tmp_path: Path) -> None:
        path = tmp_path / "raw.jsonl"
        path.write_text(json.dumps({"id": 12, "question": 5.5, "answer": []}))
        ((_, item),) = read_items(path)
        assert isinstance(item, RowError)
        assert item.id == "12"


class TestUnread:
    @pytest.mark.parametrize(
        "key", ["image_paths", "file_name", "image_0", "Image", "images_path", "img_path", "image_url"]
    )
    def test_an_image_under_another_name_is_named(self, key: str) -> None:
        assert unread({**ROW, key: "a.png"}) == [key]
        assert unread({**ROW, key: "a.png", "image": "b.png"}) == []

    @pytest.mark.parametrize(
        ("row", "key"),
        [
            ({"question": "x?", "ground_truth": "7"}, "ground_truth"),
            ({**ROW, "keysteps": ["x"]}, "keysteps"),
            ({**ROW, "choices": "1 or 7"}, "choices"),
            ({**ROW, "image": "a.png", "images": ["b.png"]}, "image"),
        ],
    )
    def test_what_was_meant_and_is_not_read_is_named(self, row: dict, key: str) -> None:
        assert unread(row) == [key]

    def test_what_only_describes_the_row_is_not(self) -> None:
        notes = {
            "source": "a",
            "question_type": "free",
            "answer_type": "int",
            "question_id": 3,
            "metadata": {},
        }
        assert unread({**ROW, **notes, "level": 3, "images": [], "image_paths": [], "choices": None}) == []

    def test_an_empty_list_does_not_hide_an_image(self) -> None:
        for empty in ([], None, ""):
            assert item_of(0, {**ROW, "images": empty, "image": "a.png"}).images == ("a.png",)

    def test_a_row_without_a_question_says_what_it_has_instead(self) -> None:
        with pytest.raises(
            DataError,
            match="none of problem, question, question_stem, messages, conversations; it has query: it is",
        ):
            item_of(0, {"query": "x?"})


def chat(*turns: tuple[str, str], role: str = "role", content: str = "content") -> list[dict]:
    return [{role: who, content: said} for who, said in turns]


class TestTurns:
    @pytest.mark.parametrize(
        "row",
        [
            {"messages": chat(("user", "<image>\nx?"), ("assistant", "3 + 4 = 7, so it is 7."))},
            {
                "conversations": chat(
                    ("human", "<image>\nx?"), ("gpt", "3 + 4 = 7, so it is 7."), role="from", content="value"
                )
            },
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image", "text": None}, {"type": "text", "text": "x?"}],
                    },
                    {"role": "assistant", "content": [{"type": "text", "text": "3 + 4 = 7, so it is 7."}]},
                ]
            },
        ],
        ids=["Mulberry", "LLaVA", "parts"],
    )
    def test_one_question_with_its_solution_is_read(self, row: dict) -> None:
        item = item_of(0, row | {"image": "a.png"})
        assert (item.question, item.solution, item.n_marks, item.system) == (
            "x?",
            "3 + 4 = 7, so it is 7.",
            1,
            None,
        )

    def test_a_system_message_is_kept(self) -> None:
        turns = chat(("system", "Answer in French."), ("user", "x?"))
        for row in ({"messages": turns}, {"question": "x?", "system": "Answer in French."}):
            assert (item_of(0, row).system, unread(row)) == ("Answer in French.", [])

    @pytest.mark.parametrize(
        ("turns", "said"),
        [
            (
                chat(("user", "x?"), ("assistant", "7"), ("user", "y?"), ("assistant", "8")),
                "several turns of user, and a row is one question: make each question a row of its own",
            ),
            (
                chat(("user", "x?"), ("tool", "7")),
                "messages has a turn of 'tool'; the roles that are read are human",
            ),
            (chat(("user", "")), "messages has no text of a user"),
            ("x?", "messages is 'x\\?'; expected a list of objects with role and content"),
            ([{"role": "user", "content": 5}], "messages has a turn that says 5; expected text, or parts"),
        ],
    )
    def test_other_turns_are_refused_by_name(self, turns: object, said: str) -> None:
        with pytest.raises(DataError, match=said):
            item_of(0, {"messages": turns})


REFLECTIONS = [
    "The previous reasoning step is wrong and let's rethink it again.",
    "I think I have made a mistake. Let me rethink it.",
    "I think I made a mistake.",
    "I've made an error in the sum.",
    "It seems the previous step was incorrect.",
    "Let me reconsider.",
    "Let\u2019s re-evaluate.",
    "Let us try again.",
]
NOT = [
    "Tom made a mistake in 2 of 10 questions, so 8 are right.",
    "If he made no mistake, let x be the number.",
    "Let us rewrite the equation.",
    "The previous step gives x = 2.",
    "Let me check: 2 + 2 = 4.",
    "This is wrong for choice B, so the answer is C.",
]


@pytest.mark.parametrize("text", REFLECTIONS)
def test_a_solution_that_turns_back_is_reflective(text: str) -> None:
    assert Item(0, "x?", solution=f"### Step 1:\n2 + 2 = 5\n\n{text}\n\n### Step 1:\n2 + 2 = 4").is_reflective


@pytest.mark.parametrize("text", NOT)
def test_a_plain_one_is_not(text: str) -> None:
    assert not Item(0, "x?", solution=f"### Step 1:\n{text}").is_reflective
