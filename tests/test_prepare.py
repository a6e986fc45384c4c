"""From a raw dataset to verl's parquet, on real images."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny_models
from PIL import Image
from sklearn.datasets import load_sample_images

from verl_stepgrpo import ConfigError, DataError, score_response
from verl_stepgrpo.commands.prepare import prepare as prepare_command
from verl_stepgrpo.data import prepare as prepare_module
from verl_stepgrpo.data.prepare import PrepareOptions, prepare
from verl_stepgrpo.data.prompts.images import scaled
from verl_stepgrpo.data.prompts.length import prompt_length_of
from verl_stepgrpo.data.prompts.text import prompt
from verl_stepgrpo.data.rows.build import DroppedError, RowOptions, rl_row, sft_row
from verl_stepgrpo.data.sources.items import Item, RowError, item_of, read_items
from verl_stepgrpo.data.split import split_of
from verl_stepgrpo.running.resume import begin

SOLUTION = """### Image Description:
Six apples and three children.
### Rationales:
Share them out.
### Let's think step by step.
### Step 1:
There are 3 children.
### Step 2:
6/3 = 2
### The final answer is: 2"""
R1VL = {
    "image_path": "china.jpg",
    "problem": "How many apples does each child get?",
    "solution": SOLUTION,
    "key_steps": {"Steps": [["6/3 = 2", "6 divided by 3 equals 2"], "3 children"]},
    "id": 7,
}
MULBERRY = {
    "messages": [
        {"role": "user", "content": "<image>\nHow many apples does each child get?"},
        {"role": "assistant", "content": SOLUTION},
    ],
    "images": ["flower.jpg"],
}
TEXT = {"question": "What is 6/3?", "solution": SOLUTION[SOLUTION.index("### Rationales") :]}
PLAIN = {"question": "What is 6/3?", "answer": 2}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for path, pixels in zip(("china.jpg", "flower.jpg"), load_sample_images().images, strict=True):
        Image.fromarray(pixels).resize((128, 96)).save(folder / path)
    (folder / "broken.jpg").write_bytes((folder / "china.jpg").read_bytes()[:500])
    return folder


def source(folder: Path, rows: list, name: str = "raw.json") -> Path:
    path = folder / name
    path.write_text("\n".join(map(json.dumps, rows)) if name.endswith("jsonl") else json.dumps(rows))
    return path


def options(images: Path, **changes: object) -> PrepareOptions:
    rows = {key: changes.pop(key) for key in list(changes) if key in RowOptions.__dataclass_fields__}
    return PrepareOptions(RowOptions("apples", images, **rows), **{"val_share": 0.0, **changes})  # type: ignore[arg-type]


class TestSources:
    def test_the_three_layouts_give_the_same_item(self) -> None:
        first, second = item_of(0, R1VL), item_of(1, MULBERRY)
        assert (first.question, first.solution) == (second.question, second.solution)
        assert (first.images, second.images) == (("china.jpg",), ("flower.jpg",))
        assert (first.n_marks, second.n_marks) == (None, 1)
        plain = item_of(2, PLAIN)
        assert (plain.question, plain.answer, plain.images, plain.solution) == ("What is 6/3?", "2", (), None)

    @pytest.mark.parametrize("name", ["raw.json", "raw.jsonl"])
    def test_lists_and_lines_are_read_alike(self, tmp_path: Path, name: str) -> None:
        items = dict(read_items(source(tmp_path, [R1VL, 5, {"a": 1}, PLAIN], name)))
        assert [type(item) for item in items.values()] == [Item, RowError, RowError, Item]

    def test_a_line_that_is_no_json_is_set_aside(self, tmp_path: Path) -> None:
        path = tmp_path / "raw.jsonl"
        path.write_text(json.dumps(PLAIN) + "\n{broken\n" + json.dumps(PLAIN))
        assert [isinstance(item, Item) for _, item in read_items(path)] == [True, False, True]

    @pytest.mark.parametrize(
        ("name", "text", "said"),
        [
            ("raw.jsonl", "\n [{", "holds a JSON list; expected one object a line"),
            ("raw.json", '\n\n{"question": "What?"}', "holds a JSON object; expected a list"),
            ("raw.json", "[]", "has no rows"),
            ("raw.jsonl", "\n", "has no rows"),
        ],
    )
    def test_a_file_of_another_layout_than_its_name_says_is_an_error(
        self, tmp_path: Path, name: str, text: str, said: str
    ) -> None:
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match=said):
            list(read_items(tmp_path / name))

    def test_a_list_that_breaks_off_is_an_error(self, tmp_path: Path) -> None:
        path = tmp_path / "raw.json"
        path.write_text(json.dumps([PLAIN, PLAIN])[:-5])
        with pytest.raises(DataError, match=r"raw\.json is not a JSON list"):
            list(read_items(path))

    @pytest.mark.parametrize(
        "change", [{"problem": 3.5, "solution": []}, {"image_path": 5}, {"messages": "x"}, {"problem": ""}]
    )
    def test_a_value_of_a_wrong_type_is_an_error_of_its_row(self, change: dict) -> None:
        with pytest.raises(DataError):
            item_of(0, R1VL | change)

    def test_reflection_is_told_by_mulberrys_own_words(self) -> None:
        turned = SOLUTION.replace(
            "6/3 = 2", "6/2 = 3. The previous reasoning step is wrong and let's rethink it again."
        )
        assert item_of(0, R1VL | {"solution": turned}).is_reflective
        assert not item_of(0, R1VL).is_reflective


class TestRows:
    def test_a_row_is_what_verl_and_the_reward_read(self, images: Path) -> None:
        row = rl_row(item_of(3, R1VL), options(images).rows)
        assert row["prompt"][0]["content"].startswith("<image>How many apples does each child get?\n")
        assert row["reward_model"]["ground_truth"] == "2"
        assert row["extra_info"] == {
            "index": 3,
            "id": "7",
            "key_steps": [["6/3 = 2", "6 divided by 3 equals 2"], ["3 children"]],
            "visual_key_steps": [],
            "solution": SOLUTION,
            "choices": None,
        }
        assert set(row["images"][0]) == {"bytes"}
        assert sft_row(item_of(3, R1VL), row)["messages"][1] == {"role": "assistant", "content": SOLUTION}

    def test_images_may_stay_paths_with_a_bound(self, images: Path) -> None:
        row = rl_row(item_of(0, R1VL), options(images, embed_images=False, max_pixels=1000).rows)
        assert row["images"] == [{"image": str(images / "china.jpg"), "max_pixels": 1000}]

    @pytest.mark.parametrize(
        ("solution", "said"),
        [
            (SOLUTION.replace("### Step 2", "### Step 4"), "it is not in order (steps numbered 1, 4)"),
            (SOLUTION.replace("Share them out.", ""), "it is not complete (no rationales)"),
            ("Half of 4 is 2.\n#### 3", "its answer is judged wrong"),
        ],
    )
    def test_it_says_what_is_wanting_in_a_solution(self, images: Path, solution: str, said: str) -> None:
        with pytest.raises(DroppedError) as error:
            rl_row(item_of(0, R1VL | {"answer": "2", "solution": solution}), options(images).rows)
        assert said in str(error.value)

    @pytest.mark.parametrize("url", ["https://example.org/a.png", "s3://bucket/a.png"])
    def test_a_url_is_no_image_and_it_says_what_to_do(self, url: str, images: Path) -> None:
        with pytest.raises(DroppedError, match="is a URL: download the images") as error:
            rl_row(item_of(0, R1VL | {"image_path": url}), options(images).rows)
        assert error.value.reason == "image"

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"image_path": "none.jpg"}, "image"),
            ({"image_path": "broken.jpg"}, "image"),
            ({"problem": "<image><image>How many?"}, "marks"),
            ({"problem": "Is <video> a mark?"}, "marks"),
            ({"problem": "Is <|image_pad|> a token?"}, "marks"),
            ({"problem": "Is <|im_end|> a token?"}, "marks"),
            ({"solution": None}, "answer"),
            ({"solution": SOLUTION.replace("### The final answer is: 2", "")}, "answer"),
            ({"answer": "3"}, "solution"),
            ({"solution": SOLUTION.replace("### Rationales:\nShare them out.\n", "")}, "solution"),
            ({"key_steps": 5}, "key_steps"),
        ],
    )
    def test_an_item_that_cannot_be_learned_from_is_dropped(
        self, images: Path, change: dict, reason: str
    ) -> None:
        with pytest.raises(DroppedError) as error:
            rl_row(item_of(0, R1VL | change), options(images).rows)
        assert error.value.reason == reason

    def test_an_image_may_be_named_as_verl_names_it(self, images: Path) -> None:
        content = (images / "china.jpg").read_bytes()
        data = f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
        for path in (f"file://{images / 'china.jpg'}", data):
            assert rl_row(item_of(0, R1VL | {"image_path": path}), options(images).rows)["images"] == [
                {"bytes": content}
            ]
        with pytest.raises(DroppedError) as error:
            rl_row(item_of(0, R1VL | {"image_path": data[:3000]}), options(images).rows)
        assert len(str(error.value)) < 200

    def test_an_image_that_a_model_would_see_otherwise_is_redrawn_or_named(self, images: Path) -> None:
        grey = Image.fromarray(np.arange(0, 65536, 8, dtype=np.uint16).reshape(64, 128))
        grey.save(images / "grey16.png")
        item, counts = item_of(0, R1VL | {"image_path": "grey16.png"}), Counter[str]()
        (image,) = rl_row(item, options(images).rows, counts=counts)["images"]
        assert np.ptp(np.asarray(scaled(image, patch_size=14))) > 250
        assert np.mean(np.asarray(scaled(image, patch_size=14))) < 130
        assert counts == {"images/redrawn": 1}
        with pytest.raises(DroppedError, match=r"grey16\.png: it has more than 8 bits a channel: save it as"):
            rl_row(item, options(images, embed_images=False).rows)

    @pytest.mark.parametrize("text", ["The <image> shows apples.", "See <video>.", "It ends.<|im_end|>"])
    def test_a_mark_in_a_solution_is_for_rl_alone(self, images: Path, text: str) -> None:
        item = item_of(0, R1VL | {"solution": SOLUTION.replace("Share them out.", text)})
        with pytest.raises(DroppedError, match=re.escape(re.findall(r"<.*?>", text)[0])) as error:
            sft_row(item, rl_row(item, options(images).rows))
        assert error.value.reason == "solution_marks"

    def test_a_text_item_needs_no_image_description(self, images: Path) -> None:
        row = rl_row(item_of(0, TEXT), RowOptions("text", images))
        assert row["reward_model"]["ground_truth"] == "2"
        assert "Image Description" not in row["prompt"][0]["content"]

    def test_a_key_step_that_the_solution_lacks_is_left_out(self, images: Path) -> None:
        row = rl_row(item_of(0, R1VL | {"key_steps": [["6/3 = 2"], ["7 pears"]]}), options(images).rows)
        assert row["extra_info"]["key_steps"] == [["6/3 = 2"]]

    def test_prompts_ask_for_the_format_once(self) -> None:
        asked = prompt("How many?", n_images=1)
        assert asked.startswith("<image>How many?\n")
        assert prompt(asked.removeprefix("<image>"), n_images=1) == asked
        assert "image" not in prompt("What is 6/3?", n_images=0).casefold()

    def test_marks_within_a_question_stay_where_they_are(self) -> None:
        within = item_of(0, {"question": "Is <image> larger than <image>?", "images": ["a.png", "b.png"]})
        assert within.n_marks == 2
        assert prompt(within.question, n_images=2).startswith("Is <image> larger than <image>?\n")
        leading = item_of(0, {"question": "<image>\n<image> Which is larger?", "images": ["a.png", "b.png"]})
        assert prompt(leading.question, n_images=2).startswith("<image><image>Which is larger?\n")
        for item in (within, leading):
            assert item.marked_question.count("<image>") == 2

    def test_the_format_that_is_asked_for_scores_full_marks(self) -> None:
        headers = [line for line in prompt("How many?", n_images=1).splitlines() if line.startswith("###")]
        response = "\n".join(f"{header}\n2" for header in headers)
        assert score_response(response, "2").total == 2.0


class TestPrepare:
    def test_every_row_is_written_or_accounted_for(self, tmp_path: Path, images: Path) -> None:
        turned = R1VL | {"solution": SOLUTION.replace("6/3 = 2", "6/3 = 2. Let's rethink.")}
        rows = [
            R1VL,
            MULBERRY,
            R1VL | {"image_path": "none.jpg"},
            5,
            turned,
            R1VL | {"key_steps": ["7 pears"]},
        ]
        report = prepare(source(tmp_path, rows), tmp_path / "out", options(images))
        assert report.read == 6
        assert report.written == {"rl-train": 4, "rl-val": 0, "sft-train": 3, "sft-val": 0}
        assert report.dropped == {"unreadable": 1, "image": 1}
        assert report.no_warmup == {"reflective": 1}
        assert report.key_steps == {"kept": 4, "removed": 1}
        dropped = [json.loads(line) for line in (tmp_path / "out" / "dropped.jsonl").open()]
        assert [(d["row"], d["id"], d["reason"]) for d in dropped] == [
            (2, "7", "image"),
            (3, None, "unreadable"),
            (4, "7", "reflective"),
        ]
        assert not (tmp_path / "out" / ".parts").exists()

    def test_the_rows_pass_verls_dataset_and_the_check_before_training(
        self, tmp_path: Path, images: Path
    ) -> None:
        from verl.utils.dataset.vision_utils import process_image

        from verl_stepgrpo.bridge.checks.dataset_check import check_files

        prepare(source(tmp_path, [R1VL, MULBERRY]), tmp_path / "out", options(images, max_pixels=6272))
        path = tmp_path / "out" / "rl-train.parquet"
        check_files(str(path), "data.train_files")
        for row in pq.read_table(path).to_pylist():
            assert np.prod(process_image(row["images"][0]).size) <= 6272

    def test_the_split_depends_on_question_images_and_seed_alone(self) -> None:
        many = [item_of(i, R1VL | {"problem": f"How many in bag {i}?"}) for i in range(400)]
        first = [split_of(item, 0, 0.25) for item in many]
        assert 60 < first.count("val") < 140
        assert first == [split_of(item, 0, 0.25) for item in many]
        assert first != [split_of(item, 1, 0.25) for item in many]
        again = item_of(999, R1VL | {"problem": "How many in bag 0?"})
        assert split_of(again, 0, 0.25) == first[0]

    def test_of_a_few_rows_one_is_for_validation(self, tmp_path: Path, images: Path) -> None:
        """2% of 8 questions is none, and the README's next command could not run; the same one twice is not split."""
        for n in (2, 8):
            rows = [{"question": f"What is {i} + 1?", "answer": str(i + 1)} for i in range(n)]
            dropped = [PLAIN | {"image": f"none{i}.png"} for i in range(40)]
            raw = source(tmp_path, [*dropped, *rows, *rows], f"{n}.json")
            report = prepare(raw, tmp_path / str(n), options(images, val_share=0.02))
            assert (report.written["rl-val"], report.written["rl-train"]) == (2, 2 * n - 2)
            assert report.split == {"val_share": 0.02, "seed": 0}
        report = prepare(source(tmp_path, rows[:1] * 2), tmp_path / "one", options(images, val_share=0.02))
        assert (report.written["rl-val"], report.written["rl-train"]) == (0, 2)

    def test_an_interrupted_run_goes_on_and_gives_the_same(
        self, tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from verl_stepgrpo.data import prepare as module

        raw = source(tmp_path, [R1VL | {"problem": f"How many in bag {i}?"} for i in range(7)], "raw.jsonl")
        monkeypatch.setattr(module, "CHUNK", 2)
        whole = prepare(raw, tmp_path / "whole", options(images))

        class StoppedError(Exception):
            pass

        def interrupt(n: int) -> None:
            raise StoppedError

        with pytest.raises(StoppedError):
            prepare(raw, tmp_path / "out", options(images), progress=interrupt)
        assert (tmp_path / "out" / ".parts" / "000000.json").exists()
        assert prepare(raw, tmp_path / "out", options(images)) == whole
        files = [pq.read_table(tmp_path / name / "rl-train.parquet") for name in ("whole", "out")]
        assert files[0].equals(files[1])

    def test_a_folder_begun_with_other_options_is_refused(self, tmp_path: Path, images: Path) -> None:
        raw = source(tmp_path, [R1VL])
        begin(tmp_path / "out" / ".parts" / "options.json", raw, options(images), has_begun=False)
        (tmp_path / "out" / ".parts" / "000000.json").write_text("{}")
        other = options(images, max_pixels=9999, seed=1)
        with pytest.raises(ConfigError, match=r"begun with max_pixels=None, not 9999; seed=0, not 1\. Go on"):
            prepare(raw, tmp_path / "out", other)
        raw.write_text(raw.read_text() + "\n")
        with pytest.raises(ConfigError, match=r"begun with other contents of .*raw\.json\. Go on"):
            prepare(raw, tmp_path / "out", options(images))

    def test_no_row_moves_from_training_to_validation(self, tmp_path: Path, images: Path) -> None:
        raw, out = source(tmp_path, [R1VL, MULBERRY]), tmp_path / "out"
        prepare(raw, out, options(images))
        prepare(raw, out, options(images, max_pixels=6272))  # the same rows in the same files
        with pytest.raises(
            ConfigError, match=r"--val-share 0\.0 --seed 0; --val-share 0\.5 --seed 0 would move"
        ):
            prepare(raw, out, options(images, val_share=0.5))
        assert json.loads((out / "report.json").read_text())["split"] == {"val_share": 0.0, "seed": 0}

    @pytest.mark.parametrize(
        ("rows", "said"),
        [
            ([], "has no rows"),
            ({"data": [R1VL]}, "holds a JSON object; expected a list"),
            ([R1VL | {"image_path": "none.jpg"}], r"no row .*\(1 in all\) can be used \(image: 1\)"),
        ],
    )
    def test_nothing_to_write_leaves_what_stands_there(
        self, tmp_path: Path, images: Path, rows: list, said: str
    ) -> None:
        out = tmp_path / "out"
        prepare(source(tmp_path, [R1VL]), out, options(images))
        before = (out / "rl-train.parquet").read_bytes()
        with pytest.raises(DataError, match=said):
            prepare(source(tmp_path, rows, "other.json"), out, options(images))
        assert (out / "rl-train.parquet").read_bytes() == before
        # Nothing was begun that the next run would have to go on with.
        prepare(source(tmp_path, [R1VL]), out, options(images))

    def test_an_error_that_nobody_foresaw_drops_its_row_alone(
        self, tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In this process, since another could not be made to fail."""

        def rl_row_or_not(item: Item, *arguments: object, **more: object) -> dict:
            if item.number == 1:
                raise KeyError("of a processor")
            return rl_row(item, *arguments, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(prepare_module, "rl_row", rl_row_or_not)
        chunk = [(i, item_of(i, R1VL | {"id": f"row {i}"})) for i in range(3)]
        counts = prepare_module._work((0, chunk, tmp_path, options(images), []))
        assert (counts["rl-train"], counts["dropped/failed"]) == (2, 1)
        (dropped,) = map(json.loads, (tmp_path / "000000-dropped.jsonl").open())
        assert (dropped["row"], dropped["id"], dropped["reason"]) == (1, "row 1", "failed")
        assert dropped["detail"] == "KeyError: 'of a processor'"

    def test_what_is_not_read_is_counted_once_a_key(self, tmp_path: Path, images: Path) -> None:
        rows = [PLAIN | {"file_name": "china.jpg"}] * 2 + [{"query": "x"}]
        report = prepare(source(tmp_path, rows), tmp_path / "out", options(images))
        assert report.unread == {
            "file_name: it is not read; image is": 2,
            "query: it is not read; question is": 1,
        }
        with pytest.raises(DataError, match="1 row has query: it is not read; question is"):
            prepare(source(tmp_path, rows[2:], "other.json"), tmp_path / "out", options(images))

    def test_questions_that_ask_for_another_format_are_counted(self, tmp_path: Path, images: Path) -> None:
        asks = PLAIN | {"question": "What is 6/3? Think in <think> </think>."}
        report = prepare(source(tmp_path, [asks, PLAIN]), tmp_path / "out", options(images))
        assert report.unread == {
            "a question that asks for think: the request for mulberry stands behind it; take one out, or say --format "
            "think": 1
        }

    def test_keys_that_nothing_is_known_of_are_counted(self, tmp_path: Path, images: Path) -> None:
        rows = [PLAIN | {"anser": "8", "level": 3, "video": ""}, PLAIN | {"level": 1}, {"level": 2}]
        report = prepare(source(tmp_path, rows), tmp_path / "out", options(images))
        assert report.others == {"anser": 1, "level": 3}
        assert json.loads((tmp_path / "out" / "report.json").read_text())["others"] == report.others

    def test_reflective_rows_are_for_rl_where_they_are_in_order_and_never_for_the_warm_up(
        self, tmp_path: Path, images: Path
    ) -> None:
        """As the code that made Mulberry's writes them: wherever a wrong part stood, then it goes on from there."""
        turned = "\n\nI think I have made a mistake. Let me rethink it.\n\n"
        before, step = SOLUTION.split("### Rationales", 1)[0], "### Step 1:\nThere are 3 children.\n"
        early = before.replace("Six", "Two") + turned + SOLUTION
        late = SOLUTION.replace(step, step.replace("3", "4") + turned + step)
        rows = [R1VL | {"solution": solution} for solution in (early, late)]
        report = prepare(source(tmp_path, rows), tmp_path / "out", options(images))
        assert report.written == {"rl-train": 1, "rl-val": 0, "sft-train": 0, "sft-val": 0}
        assert (report.no_warmup, report.dropped) == ({"reflective": 1}, {"solution": 1})
        (_, dropped) = map(json.loads, (tmp_path / "out" / "dropped.jsonl").open())
        assert "it takes a step back: give the answer as answer" in dropped["detail"]

    def test_rows_of_text_alone_are_counted(self, tmp_path: Path, images: Path) -> None:
        report = prepare(source(tmp_path, [R1VL, TEXT]), tmp_path / "out", options(images))
        assert report.without_images == 1

    @pytest.mark.parametrize(("format_", "n"), [("mulberry", 1), ("think", 0), ("plain", 0), ("markdown", 0)])
    def test_an_image_description_is_spoken_of_where_the_format_has_one(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], format_: str, n: int
    ) -> None:
        prepare_command(source(tmp_path, [TEXT, TEXT]), tmp_path / "out", num_proc=1, format_=format_)
        assert capsys.readouterr().out.count("image_description=optional") == n


class TestCommand:
    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "verl_stepgrpo", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    def test_it_says_what_it_wrote_and_what_it_dropped(self, tmp_path: Path, images: Path) -> None:
        raw = source(tmp_path, [R1VL, R1VL | {"image_path": "none.jpg"}])
        arguments = ["prepare", raw, "--out", tmp_path / "out", "--image-root", images, "--val-share", 0]
        done = self.run(*arguments, "--num-proc", 2)
        assert done.returncode == 0, done.stderr
        assert "1 dropped  image: an image is missing" in done.stdout
        assert "--image-root" not in done.stdout
        assert self.run(*arguments, "--strict").returncode == 1

    def test_where_most_images_are_missing_it_says_where_they_were_looked_for(self, tmp_path: Path) -> None:
        raw = source(tmp_path, [R1VL | {"b": 1}, MULBERRY | {"a": 1, "b": 1}, PLAIN])
        done = self.run("prepare", raw, "--out", tmp_path / "out")
        assert "keys that are not read: b (2 rows), a (1 row)\nDetails: " in done.stdout
        assert f"most images are missing: relative paths start at {tmp_path} (--image-root)" in done.stdout
        assert "1 not in the warm-up  no_solution" in done.stdout
        # A row that RL has is not dropped.
        raw = source(tmp_path, [PLAIN])
        assert self.run("prepare", raw, "--out", tmp_path / "strict", "--strict").returncode == 0

    @pytest.mark.parametrize("command", ["lint", "eval"])
    def test_the_warm_ups_file_is_told_from_that_of_rl(
        self, tmp_path: Path, images: Path, command: str
    ) -> None:
        prepare(source(tmp_path, [R1VL]), tmp_path / "out", options(images))
        more = ("--model", "m", "--out", tmp_path / "eval") if command == "eval" else ()
        done = self.run(command, tmp_path / "out" / "sft-train.parquet", *more)
        assert done.returncode == 2
        assert "sft-train.parquet is the warm-up's: it has messages and no prompt" in done.stderr

    def test_a_model_of_a_hub_that_cannot_be_reached_is_said_at_once(self, tmp_path: Path) -> None:
        """transformers would try again and again, for minutes."""
        command = [sys.executable, "-m", "verl_stepgrpo", "prepare", str(source(tmp_path, [PLAIN]))]
        command += ["--out", str(tmp_path / "out"), "--model", "nobody/nothing", "--max-prompt-length", "9"]
        env = os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env)
        assert done.returncode == 2
        assert "its processor cannot be loaded: there is no folder nobody/nothing, and: " in done.stderr
        assert "Retrying" not in done.stderr

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["prepare", "none.json", "--out", "out"], "none.json cannot be read"),
            (["prepare", "none.json", "--out", "out", "--val-share", "2"], "--val-share=2.0 is out of range"),
            (["prepare", "none.json", "--out", "out", "--max-prompt-length", "9"], "needs --model"),
        ],
    )
    def test_a_mistake_is_one_line_and_status_2(self, arguments: list, said: str) -> None:
        done = self.run(*arguments)
        assert done.returncode == 2
        assert said in done.stderr
        assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    tiny_models.build("Qwen2VL", folder)
    return str(folder)


def test_verls_datasets_read_every_row_that_is_kept(model: str, images: Path, tmp_path: Path) -> None:
    """Each of these rows but the first has ended the warm-up or RL in its middle, or reached the model blank."""
    from omegaconf import OmegaConf
    from transformers import AutoProcessor
    from verl.utils.dataset.rl_dataset import RLHFDataset

    from verl_stepgrpo.bridge.warmup_dataset import WarmupDataset

    Image.new("LA", (64, 64), (0, 0)).save(images / "la.png")
    Image.new("RGB", (3000, 10)).save(images / "wide.png")
    video_text = TEXT | {"question": "What does <video> do?", "solution": TEXT["solution"] + " "}
    rows = [
        R1VL,
        R1VL | {"problem": "Is <video> a mark?"},
        R1VL | {"problem": "Is <|image_pad|> a token?"},
        R1VL | {"solution": SOLUTION.replace("Share them out.", "The <image> shows apples.")},
        R1VL | {"solution": SOLUTION.replace("Share them out.", "A <|video_pad|>.")},
        R1VL | {"image_path": "wide.png"},
        video_text,
    ]
    limits = options(images, model=model, max_prompt_length=2000)
    report = prepare(source(tmp_path, rows), tmp_path / "out", limits)
    assert report.dropped == {"image": 1, "marks": 2}
    assert report.written == {"rl-train": 4, "rl-val": 0, "sft-train": 1, "sft-val": 0}
    processor = AutoProcessor.from_pretrained(model)
    config = OmegaConf.create({
        "cache_dir": str(tmp_path), "max_prompt_length": 2000, "filter_overlong_prompts_workers": None,
        "max_length": 2048, "train_batch_size": 1, "train_files": "", "pad_mode": "no_padding",
    })  # fmt: skip
    files = [str(tmp_path / "out" / f"{name}-train.parquet") for name in ("rl", "sft")]
    assert len(RLHFDataset(files[0], processor.tokenizer, config, processor)) == 4
    warm_up = WarmupDataset(files[1], processor.tokenizer, config, processor=processor)
    assert all(len(warm_up[i]["input_ids"]) > 50 for i in range(len(warm_up)))


class TestPromptLength:
    @pytest.mark.parametrize("max_pixels", [None, 28 * 28 * 4])
    def test_it_is_what_verls_own_dataset_counts(
        self, model: str, images: Path, tmp_path: Path, max_pixels: int | None
    ) -> None:
        """verl keeps the prompt at just this limit, and leaves it out below."""
        from omegaconf import OmegaConf
        from transformers import AutoProcessor
        from verl.utils.dataset.rl_dataset import RLHFDataset

        prepare(source(tmp_path, [R1VL]), tmp_path / "out", options(images, max_pixels=max_pixels))
        file = str(tmp_path / "out" / "rl-train.parquet")
        (row,) = pq.read_table(file).to_pylist()
        length = prompt_length_of(model)(row["prompt"], row["images"])
        processor = AutoProcessor.from_pretrained(model)
        for limit, kept in ((length, 1), (length - 1, 0)):
            config = {"max_prompt_length": limit, "filter_overlong_prompts": True, "cache_dir": str(tmp_path)}
            dataset = RLHFDataset(
                file,
                processor.tokenizer,
                OmegaConf.create({**config, "image_key": "images", "filter_overlong_prompts_workers": None}),
                processor,
            )
            assert len(dataset) == kept

    def test_a_model_of_text_alone_counts_text(self, model: str, tmp_path: Path) -> None:
        from transformers import AutoTokenizer, Qwen2Config

        AutoTokenizer.from_pretrained(model).save_pretrained(tmp_path)
        Qwen2Config().save_pretrained(tmp_path)
        settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
        settings.pop("processor_class", None)
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
        length = prompt_length_of(str(tmp_path))
        messages = [{"role": "user", "content": "What is the sum?"}]
        assert length(messages, []) == prompt_length_of(model)(messages, [])
        with pytest.raises(ConfigError, match="reads no images"):
            length([{"role": "user", "content": "<image>?"}], [{"image": "a.png"}])

    def test_a_model_that_is_not_there_is_named(self, images: Path, tmp_path: Path) -> None:
        limits = options(images, model="/no/such/model", max_prompt_length=9)
        with pytest.raises(ConfigError, match="--model=/no/such/model: its processor cannot be loaded"):
            prepare(source(tmp_path, [R1VL]), tmp_path / "out", limits)
        prepare(source(tmp_path, [R1VL]), tmp_path / "out", options(images))  # the folder is still free

    def test_a_prompt_that_is_too_long_is_dropped_with_its_length(
        self, model: str, images: Path, tmp_path: Path
    ) -> None:
        long = R1VL | {"problem": "How many apples does each child get? " * 20}
        limits = options(images, model=model, max_prompt_length=800)
        report = prepare(source(tmp_path, [R1VL, long]), tmp_path / "out", limits)
        assert (report.written["rl-train"], report.dropped) == (1, {"length": 1})
        (dropped,) = map(json.loads, (tmp_path / "out" / "dropped.jsonl").open())
        assert dropped["row"] == 1
        assert int(dropped["detail"].split()[0]) > 800
