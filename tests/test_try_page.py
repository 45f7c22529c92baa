"""The pages of a bundle's server in a real browser: what they show is what the API answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from answer_space import MODALITIES
from browser import DESKTOP, PHONE, Scheme, Visit, launched, program, visit
from PIL import Image
from playwright.sync_api import Browser, Page
from rendering import UNMEASURED, render
from served import Served, serving

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(program() is None, reason="no Chromium on this machine"),
]

LOOKS = [
    pytest.param(PHONE, "light", marks=pytest.mark.slow),
    (PHONE, "dark"),
    (DESKTOP, "light"),
    pytest.param(DESKTOP, "dark", marks=pytest.mark.slow),
]
MAX_BODY_BYTES = 200_000
# what the browser itself logs of a request that was refused, whatever the page makes of it
REFUSED = "Failed to load resource"
# it can be played
SOUND_IS_KNOWN = "() => document.getElementById('preview').readyState > 0"
TOKEN = "it's-$3cret"  # noqa: S105
HOSTILE = ['<img src="x" onerror="alert(1)">', "a | b", "{{ 7 * 7 }}", "ünï ", "w" * 120]

# an untrained network of the project, exported: training would show nothing more here
EXPORT = """
import sys
from dataclasses import replace
from pathlib import Path
import bundles, payloads
from bundles import export
task, folder, names = sys.argv[1], sys.argv[2], sys.argv[3:]
spec = bundles.TASK_SPEC
if task != spec.task_type:
    made = type(spec).preset(task)
    spec.task_type, spec.output_schema = made.task_type, made.output_schema
if task == "masked_lm":
    spec.output_schema = {"num_outputs": spec.input_schema["vocab_size"]}
for place, name in enumerate(names):
    spec.output_schema["class_names"][place] = name
print(export(Path(folder), "onnx"))
"""


Exported = Callable[..., Path]


@pytest.fixture(scope="module")
def exported(template_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Makes a bundle for a task, its first outputs named as told."""
    projects: dict[str, Path] = {}

    def make(task: str, *names: str) -> Path:
        modality = next(name for name, row in MODALITIES.items() if task in row["tasks"])
        if modality not in projects:
            folder = tmp_path_factory.mktemp(modality) / "project"
            answers = {"modality": modality, "project_name": "Näht <b>it</b>"}
            answers |= {"project_slug": "seam-check", "package_name": "seam_check"}
            projects[modality] = render(template_folder, folder, answers)
        project = projects[modality]
        paths = os.pathsep.join(str(project / part) for part in ("src", "tests"))
        done = subprocess.run(
            [sys.executable, "-c", EXPORT, task, tmp_path_factory.mktemp(task), *names],
            cwd=project,
            env=os.environ | UNMEASURED | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return Path(done.stdout.strip().splitlines()[-1])

    return make


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as found:
        yield found


@pytest.fixture(scope="module")
def images(exported: Exported) -> Iterator[Served]:
    """A server of images in ten classes, whose names mean harm."""
    bundle = exported("vision_classification", *HOSTILE)
    metadata = json.loads((bundle / "metadata.json").read_text("utf-8"))
    (bundle / "metadata.json").write_text(json.dumps(metadata | {"caveats": HOSTILE[:2]}), "utf-8")
    with serving(bundle, "--max_body_bytes", str(MAX_BODY_BYTES)) as served:
        yield served


@pytest.fixture(scope="module")
def texts(exported: Exported) -> Iterator[Served]:
    """A server that goes on with texts."""
    with serving(exported("lm")) as served:
        yield served


@pytest.fixture(scope="module")
def sounds(exported: Exported) -> Iterator[Served]:
    """A server of sounds in ten classes."""
    with serving(exported("audio_classification")) as served:
        yield served


@pytest.fixture(scope="module")
def rows(exported: Exported) -> Iterator[Served]:
    """A server of rows of tables."""
    with serving(exported("tabular_classification")) as served:
        yield served


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A picture in a file that a shell would take apart."""
    path = tmp_path / "it's a photo.png"
    gradient = Image.linear_gradient("L").resize((80, 60))
    Image.merge("RGB", (gradient, gradient.rotate(90), gradient.rotate(180))).save(path)
    return path


def predict(page: Page) -> None:
    page.click("#predict")
    page.wait_for_selector("#answer details")


def bars(page: Page) -> dict[str, float]:
    """What the table shows, and how long its bars are."""
    shown = {}
    for row in page.query_selector_all("#answer .bars tr"):
        name, value = row.query_selector("th"), row.query_selector("data")
        assert name is not None
        assert value is not None
        share = float(value.get_attribute("value") or "nan")
        assert value.inner_text() == f"{100 * share:.1f} %"
        width = row.evaluate(
            "row => row.querySelector('.bar').offsetWidth / row.querySelector('.track').offsetWidth"
        )
        assert width == pytest.approx(share, abs=0.03)
        shown[name.text_content() or ""] = share
    return shown


def assert_in_order(seen: Visit) -> None:
    assert seen.complaints == []
    assert seen.foreign() == []
    assert seen.barriers() == []
    assert not seen.is_too_wide()


def from_shell(page: Page, folder: Path, **env: str) -> Any:
    """What the line that the page shows answers in a shell."""
    line = page.locator("#call").text_content() or ""
    done = subprocess.run(
        ["sh", "-c", line], cwd=folder, env=os.environ | env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def whole_answer(page: Page) -> Any:
    return json.loads(page.locator("#answer details pre").text_content() or "")


def trouble(page: Page) -> str:
    """The one line that tells what is wrong; nothing else is shown then."""
    page.wait_for_selector("#trouble:not(:empty)")  # the page's policy lets nobody evaluate text
    assert page.locator("#answer *").count() == 0
    assert page.locator("#trouble").get_attribute("role") == "alert"
    return page.inner_text("#trouble")


# --- Images --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_an_image(
    width: int, scheme: Scheme, images: Served, browser: Browser, photo: Path
) -> None:
    expected = images.ask("predictions/model", photo.read_bytes(), "image/png")
    with visit(browser, images.url, width=width, scheme=scheme) as seen:
        assert seen.page.title() == seen.page.inner_text("h1") == "Näht <b>it</b>"
        assert_in_order(seen)
        reached = seen.reached_by_keyboard()
        assert reached[:3] == ["input#file", "button#predict", "button#example"]
        assert reached[-1] == "a#docs"
        seen.page.set_input_files("#file", photo)
        predict(seen.page)
        assert seen.page.evaluate("document.getElementById('preview').naturalWidth") == 80
        assert whole_answer(seen.page) == expected
        assert bars(seen.page) == expected["probabilities"]
        assert list(bars(seen.page)) == list(expected["probabilities"])
        assert from_shell(seen.page, photo.parent) == expected
        assert "in the server" in seen.page.inner_text("#answer")
        assert_in_order(seen)


def test_the_example_by_keyboard(images: Served, browser: Browser, tmp_path: Path) -> None:
    metadata = json.loads((images.bundle / "metadata.json").read_text("utf-8"))
    example = (images.bundle / metadata["example"]["input"]).read_bytes()
    expected = images.ask("predictions/model", example, "image/png")
    with visit(browser, images.url) as seen:
        for _ in range(3):
            seen.page.keyboard.press("Tab")
        seen.page.keyboard.press("Enter")
        seen.page.wait_for_selector("#answer details")
        assert bars(seen.page) == expected["probabilities"]
        assert from_shell(seen.page, tmp_path) == expected
        reached = seen.reached_by_keyboard()
        assert {"pre#call", "button#copy"} <= set(reached)
        assert_in_order(seen)


def test_an_image_is_dropped(images: Served, browser: Browser, photo: Path) -> None:
    expected = images.ask("predictions/model", photo.read_bytes(), "image/png")
    with visit(browser, images.url) as seen:
        seen.page.evaluate(
            """bytes => {
              const dropped = new DataTransfer();
              dropped.items.add(new File([new Uint8Array(bytes)], "dropped.png"));
              document.querySelector(".drop").dispatchEvent(
                new DragEvent("drop", { dataTransfer: dropped, bubbles: true, cancelable: true }));
            }""",
            list(photo.read_bytes()),
        )
        predict(seen.page)
        assert bars(seen.page) == expected["probabilities"]
        assert "@dropped.png" in seen.page.inner_text("#call")


def test_what_goes_wrong_is_one_line(images: Served, browser: Browser, tmp_path: Path) -> None:
    bad, large = tmp_path / "bad.png", tmp_path / "large.png"
    bad.write_bytes(b"no picture")
    large.write_bytes(bytes(MAX_BODY_BYTES + 1))
    refused = images.ask("predictions/model", bad.read_bytes(), "image/png")
    with visit(browser, images.url, width=PHONE) as seen:
        page = seen.page
        page.click("#predict")
        assert trouble(page) == "Choose an image first."
        page.set_input_files("#file", bad)
        assert page.inner_text("#trouble") == ""
        page.click("#predict")
        assert trouble(page) == refused["error"]
        page.set_input_files("#file", large)
        before = len(seen.requests)
        page.click("#predict")
        assert trouble(page) == "That is 200,001 bytes; the server takes 200,000 at most."
        assert len(seen.requests) <= before + 1  # its preview alone
        page.set_input_files("#file", bad)
        page.route("**/predictions/model", lambda route: route.fulfill(status=429, body="{}"))
        page.click("#predict")
        assert trouble(page).startswith("The server is busy.")
        page.unroute("**/predictions/model")
        page.set_input_files("#file", bad)
        page.context.set_offline(True)
        page.click("#predict")
        assert trouble(page).startswith("The server does not answer.")
        assert [line for line in seen.complaints if not line.startswith(REFUSED)] == []
        assert seen.foreign() == seen.barriers() == []
        assert not seen.is_too_wide()


def test_the_card_tells_what_is_recorded(images: Served, browser: Browser) -> None:
    metadata = json.loads((images.bundle / "metadata.json").read_text("utf-8"))
    with visit(browser, images.url) as seen:
        card = seen.page.inner_text("#card")
        for told in ("seam-check", metadata["run"], "0.25", "0.2 to 0.3", "2.5", "pixel_values"):
            assert told in card
        for caveat in HOSTILE[:2]:
            assert seen.page.get_by_role("listitem").filter(has_text=caveat).count() == 1
        seen.page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert metadata["versions"]["onnxruntime"] in seen.page.inner_text("#card")
        assert_in_order(seen)


def test_a_token_is_asked_for_and_kept_in_the_page(
    images: Served, browser: Browser, photo: Path
) -> None:
    with (
        serving(images.bundle, SERVER_TOKEN=TOKEN) as guarded,
        visit(browser, guarded.url, width=PHONE) as seen,
    ):
        page = seen.page
        assert trouble(page) == "a bearer token is needed"
        assert not page.is_visible("#try")
        assert not page.is_visible("#card")
        assert seen.barriers() == []
        page.fill("#token", "guess")
        page.press("#token", "Enter")
        page.wait_for_load_state("networkidle")
        assert trouble(page) == "this bearer token is none of ours"
        page.fill("#token", TOKEN)
        page.click("#use-token")
        page.wait_for_selector("#card")
        assert not page.is_visible("#token-form")
        page.set_input_files("#file", photo)
        predict(page)
        line = page.inner_text("#call")
        assert "$SERVER_TOKEN" in line
        assert TOKEN not in page.content()
        assert from_shell(page, photo.parent, SERVER_TOKEN=TOKEN) == whole_answer(page)
        stored = "[document.cookie, localStorage.length, sessionStorage.length]"
        assert page.evaluate(stored) == ["", 0, 0]
        assert {line[: len(REFUSED)] for line in seen.complaints} == {REFUSED}
        page.reload()
        assert trouble(page) == "a bearer token is needed"


@contextmanager
def below(served: Served, prefix: str) -> Iterator[str]:
    """A proxy that puts a server below a path."""

    class Proxy(BaseHTTPRequestHandler):
        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))) or None
            path = self.path.removeprefix(prefix)
            if path == self.path:
                self.send_error(404)
                return
            request = urllib.request.Request(  # noqa: S310
                served.url + path, body, {"Content-Type": self.headers.get("Content-Type", "")}
            )
            with urllib.request.urlopen(request) as answer:  # noqa: S310
                content = answer.read()
                self.send_response(answer.status)
                for name in ("Content-Type", "Content-Security-Policy", "Server-Timing"):
                    self.send_header(name, answer.headers[name])
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        do_GET = do_POST = forward  # noqa: N815 - names of http.server

        def log_message(self, *_: Any) -> None:
            pass

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{proxy.server_port}{prefix}/"
    finally:
        proxy.shutdown()
        proxy.server_close()


def test_below_a_path_of_a_proxy(images: Served, browser: Browser, photo: Path) -> None:
    expected = images.ask("predictions/model", photo.read_bytes(), "image/png")
    with below(images, "/models/seam") as url:
        with visit(browser, url) as seen:
            seen.page.set_input_files("#file", photo)
            predict(seen.page)
            assert bars(seen.page) == expected["probabilities"]
            assert from_shell(seen.page, photo.parent) == expected
            assert seen.complaints == []
        with visit(browser, f"{url}docs") as seen:
            assert execute_ping(seen.page) == "200"
            assert seen.complaints == []


# --- Rows of tables ------------------------------------------------------------------------------

ROW = {
    "island": "Dream",
    "clutch_completion": True,
    "date_egg": "2008-11-14",
    "bill_length_mm": 46.5,
    "bill_depth_mm": None,
}


def instances(*given: dict[str, Any]) -> bytes:
    return json.dumps({"instances": given}).encode()


def fill(page: Page) -> None:
    """The form as ROW has it."""
    page.get_by_label("island").select_option("Dream")
    page.get_by_label("clutch_completion").select_option("true")
    page.get_by_label("date_egg").fill("2008-11-14")
    page.get_by_label("bill_length_mm").fill("46.5")
    page.get_by_label("bill_depth_mm").fill("")


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_a_row(width: int, scheme: Scheme, rows: Served, browser: Browser, tmp_path: Path) -> None:
    expected = rows.ask("predictions/model", instances(ROW), "application/json")
    with visit(browser, rows.url, width=width, scheme=scheme) as seen:
        page = seen.page
        assert_in_order(seen)
        reached = seen.reached_by_keyboard()
        fields = [f"select#column-{n}" for n in range(2)] + [f"input#column-{n}" for n in (3, 4)]
        assert [name for name in reached if name in fields] == fields
        assert "button#predict" in reached
        assert "32.1 to 59.6 in training" in page.inner_text("#input")
        fill(page)
        predict(page)
        assert whole_answer(page) == expected
        assert bars(page) == expected["predictions"][0]["probabilities"]
        assert "Imputed: bill_depth_mm." in page.inner_text("#answer")
        assert from_shell(page, tmp_path) == expected
        assert_in_order(seen)


def test_an_example_fills_the_form_and_may_be_changed(rows: Served, browser: Browser) -> None:
    example = rows.ask("model/example")
    changed = example | {"bill_length_mm": 33}
    with visit(browser, rows.url) as seen:
        seen.page.click("#example")
        seen.page.wait_for_selector("#answer details")
        expected = rows.ask("predictions/model", instances(example), "application/json")
        assert whole_answer(seen.page) == expected
        length = seen.page.get_by_label("bill_length_mm")
        assert length.input_value() == str(example["bill_length_mm"])
        length.fill("33")
        assert seen.page.locator("#answer *").count() == 0
        predict(seen.page)
        assert whole_answer(seen.page) == rows.ask(
            "predictions/model", instances(changed), "application/json"
        )
        length.fill("long")
        seen.page.click("#predict")
        assert trouble(seen.page) == "column 'bill_length_mm' holds 'long', which is not a number"


def test_a_table_of_rows(rows: Served, browser: Browser, tmp_path: Path) -> None:
    table, other = tmp_path / "it's a table.csv", tmp_path / "sheet.xlsx"
    lines = [",".join(ROW), "Dream,Yes,2008-11-14,46.5,", "Dream,maybe,2008-11-14,46.5,"]
    table.write_text("\n".join(lines), "utf-8")
    other.touch()
    with visit(browser, rows.url) as seen:
        page = seen.page
        page.get_by_text("Many rows at once").click()
        page.set_input_files("#file", other)
        assert "sheet.xlsx is not read here" in page.inner_text("#about-file")
        page.set_input_files("#file", table)
        predict(page)
        answers = whole_answer(page)["predictions"]
        assert ["error" in answer for answer in answers] == [False, True]
        told = page.inner_text("#answer table")
        assert answers[0]["class"] in told
        assert "column 'clutch_completion' holds 'maybe'" in told
        assert from_shell(page, tmp_path)["predictions"] == answers
        fill(page)  # takes the place of the table
        assert page.inner_text("#about-file") == ""
        assert_in_order(seen)


# --- Texts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "scheme"), [(PHONE, "dark"), (DESKTOP, "light")])
def test_a_text(
    width: int, scheme: Scheme, texts: Served, browser: Browser, tmp_path: Path
) -> None:
    prompt = "@it's <b>\n$HOME `ls`\n  the cat"
    expected = texts.ask("predictions/model", prompt.encode())
    with visit(browser, texts.url, width=width, scheme=scheme) as seen:
        page = seen.page
        assert_in_order(seen)
        reached = seen.reached_by_keyboard()
        assert reached[:3] == ["textarea#text", "button#predict", "button#example"]
        page.click("#predict")
        assert trouble(page) == "Type a text first."
        page.fill("#text", prompt)
        assert page.inner_text("#trouble") == ""
        predict(page)
        assert whole_answer(page) == expected
        assert page.locator("#answer mark").text_content() == expected["continuation"]
        assert page.locator("#answer .text").text_content() == expected["text"]
        assert from_shell(page, tmp_path) == expected
        assert_in_order(seen)
        page.fill("#text", "")  # which takes the answer away; it would be taken for the next one
        page.click("#example")
        page.wait_for_selector("#answer details")
        example = json.loads((texts.bundle / "metadata.json").read_text("utf-8"))["example"][
            "input"
        ]
        stored = (texts.bundle / example).read_bytes()
        assert page.input_value("#text").encode() == stored
        assert whole_answer(page) == texts.ask("predictions/model", stored)


# --- Every other task ----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("task", ["vision_multilabel", "vision_regression"])
def test_other_answers_of_images(
    task: str, exported: Exported, browser: Browser, photo: Path
) -> None:
    with serving(exported(task, HOSTILE[0])) as served, visit(browser, served.url) as seen:
        expected = served.ask("predictions/model", photo.read_bytes(), "image/png")
        seen.page.set_input_files("#file", photo)
        predict(seen.page)
        if task == "vision_multilabel":
            assert bars(seen.page) == expected["probabilities"]
            said = seen.page.inner_text("#answer .headline")
            assert all(label in said for label in expected["labels"])
        else:
            [value] = seen.page.query_selector_all("#answer data")
            assert [float(value.get_attribute("value") or "nan")] == list(
                expected["values"].values()
            )
        assert HOSTILE[0] in seen.page.inner_text("#answer")
        assert_in_order(seen)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["masked_lm", "text_classification"])
def test_other_answers_of_texts(task: str, exported: Exported, browser: Browser) -> None:
    text = "the cat <mask> on the <mask>"
    with serving(exported(task)) as served, visit(browser, served.url, width=PHONE) as seen:
        expected = served.ask("predictions/model", text.encode())
        assert ("<mask>" in seen.page.inner_text("#hint")) == (task == "masked_lm")
        seen.page.fill("#text", text)
        predict(seen.page)
        if task == "masked_lm":
            assert seen.page.locator("#answer .bars").count() == 2
            assert seen.page.locator("#answer .text").text_content() == expected["text"]
            assert whole_answer(seen.page) == expected
        else:
            assert bars(seen.page) == expected["probabilities"]
        assert_in_order(seen)


# --- Sounds --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_a_sound(
    width: int, scheme: Scheme, sounds: Served, browser: Browser, tmp_path: Path
) -> None:
    path = tmp_path / "it's a tone.wav"
    time = np.arange(22_050 * 3 // 2) / 22_050
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * 440 * time), 22_050)
    expected = sounds.ask("predictions/model", path.read_bytes(), "audio/wav")
    assert (expected["seconds"], expected["windows"], expected["padded_seconds"]) == (1.5, 2, 0)
    with visit(browser, sounds.url, width=width, scheme=scheme) as seen:
        page = seen.page
        assert_in_order(seen)
        reached = seen.reached_by_keyboard()
        assert reached[:4] == ["input#file", "button#record", "button#predict", "button#example"]
        page.click("#predict")
        assert trouble(page) == "Choose a sound first."
        page.set_input_files("#file", path)
        predict(page)
        page.wait_for_function(SOUND_IS_KNOWN)
        assert page.evaluate("document.getElementById('preview').duration") == pytest.approx(1.5)
        assert whole_answer(page) == expected
        assert bars(page) == expected["probabilities"]
        assert "Seconds: 1.5.\n\nWindows: 2.\n" in page.inner_text("#answer")
        assert from_shell(page, tmp_path) == expected
        assert_in_order(seen)


def test_a_recording(sounds: Served, browser: Browser) -> None:
    with visit(browser, sounds.url) as seen:
        page = seen.page
        page.click("#record")
        page.wait_for_selector("#record:text-is('Stop (1 s)')")
        page.click("#record")
        page.wait_for_selector("#record:text-is('Record')")
        page.wait_for_function(SOUND_IS_KNOWN)
        seconds = page.evaluate("document.getElementById('preview').duration")
        assert 1 <= seconds < 4
        predict(page)
        assert whole_answer(page)["seconds"] == pytest.approx(seconds, abs=0.01)
        assert "@recording.wav" in page.inner_text("#call")
        assert_in_order(seen)


def test_no_recording(sounds: Served, browser: Browser) -> None:
    with visit(browser, sounds.url) as seen:
        page = seen.page
        refuse = "() => Promise.reject(new DOMException('Permission denied'))"
        page.evaluate(f"() => {{ navigator.mediaDevices.getUserMedia = {refuse}; }}")
        page.click("#record")
        page.wait_for_selector("#about-file:not(:empty)")
        told = "There is no microphone for this page: Permission denied."
        assert page.inner_text("#about-file") == told
        assert page.inner_text("#record") == "Record"
        assert_in_order(seen)


# --- The API's description -----------------------------------------------------------------------


def execute_ping(page: Page) -> str:
    """Let Swagger UI ask the server; gives the status that it shows."""
    page.click("[id$=_ping_get] .opblock-summary-control")
    page.click(".try-out__btn")
    page.click(".execute")
    page.wait_for_selector(".live-responses-table .response-col_status")
    return page.inner_text(".live-responses-table .response .response-col_status")


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_docs(width: int, scheme: Scheme, texts: Served, browser: Browser) -> None:
    with visit(browser, f"{texts.url}/docs", width=width, scheme=scheme) as seen:
        seen.page.wait_for_selector(".opblock")
        described = texts.ask("openapi.json")["paths"]
        assert seen.page.locator(".opblock").count() == sum(map(len, described.values()))
        assert seen.page.title() == "Näht <b>it</b>"
        assert_in_order(seen)
        assert execute_ping(seen.page) == "200"
        assert_in_order(seen)
