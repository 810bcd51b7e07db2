"""The page in a browser: what it shows is what the service says, and a click predicts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.service.running import running

from .asking import get, post
from .conftest import KEY, Visit

pytestmark = pytest.mark.slow
MOST_BYTES = 17_600  # compressed, as a browser gets it
WRONG = "wrong-key-0123456789"
FLOWER = '{"data": [[5.1, 3.5, 1.4, 0.2], [5.9, 3.0, 5.1, 1.8]]}'


def shown_answer(page: Page) -> object:
    return json.loads(page.locator("#answer").inner_text())


def request(page: Page) -> Locator:
    """The request as JSON, opened where it is closed."""
    if page.locator("#json").get_attribute("open") is None:
        page.get_by_text("The request as JSON").click()
    return page.get_by_role("textbox", name="Request")


def test_a_click_predicts_and_the_numbers_are_the_apis(url: str, visit: Visit) -> None:
    page = visit(url)
    example = httpx.get(f"{url}/v2/models/iris/example").text
    expect(page.get_by_role("button", name="Predict")).to_be_enabled()
    (sent,) = json.loads(request(page).input_value())["data"]
    features = get(url, "v2/models/iris")["inputs"][0]["parameters"]["features"]
    assert sent == dict(zip(features, json.loads(example)["data"][0], strict=True))
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#outcome")).to_contain_text("200 in")
    answer = post(url, example)
    assert shown_answer(page) == answer.json()
    expect(page.locator("#outcome b")).to_have_text(answer.json()["labels"][0])
    parts = answer.json()["outputs"]["probabilities"][0]
    expect(page.locator("#classes p").first).to_contain_text(f"{100 * max(parts):.1f}%")


def test_the_request_id_of_the_answer_is_shown(url: str, visit: Visit) -> None:
    page = visit(url)
    expect(page.get_by_role("button", name="Predict")).to_be_enabled()
    with page.expect_response("**/predict/iris") as waited:
        page.get_by_role("button", name="Predict").click()
    identity = waited.value.headers["x-request-id"]
    expect(page.locator("#outcome")).to_contain_text(f"request {identity}")


def test_the_page_shows_release_and_signature(guarded: str, visit: Visit) -> None:
    page = visit(guarded)
    server, model = get(guarded, "v2"), get(guarded, "v2/models/iris")
    expect(page.get_by_role("heading", level=1)).to_have_text(server["title"])
    expect(page.locator("#state")).to_have_text("Ready")
    for fact in (server["version"], "f" * 40, server["model_digest"]):
        expect(page.locator("#release")).to_contain_text(fact)
    identity = page.locator("#identity")
    for fact in ("iris", model["versions"][0], "CPU", model["parameters"]["digest"]):
        expect(identity).to_contain_text(fact)
    for tensor in (*model["inputs"], *model["outputs"]):
        line = page.locator(".tensors li", has_text=tensor["name"]).first
        shape = ", ".join(map(str, tensor["shape"])).replace("-", "\N{MINUS SIGN}")
        expect(line).to_contain_text(f"{tensor['datatype']} [{shape}]")
        for names in tensor.get("parameters", {}).values():
            if names is True:
                continue
            expect(line).to_contain_text(", ".join(names))


def test_the_button_waits_for_the_sample(url: str, visit: Visit) -> None:
    page = visit(url)
    button = page.get_by_role("button", name="Predict")
    expect(button).to_be_enabled()
    held: list[Route] = []
    page.route("**/example", lambda route: held.append(route))
    with page.expect_request("**/example"):
        page.reload()
    expect(page.locator("#state")).to_have_text("Ready")
    expect(button).to_be_disabled()
    held[0].continue_()
    button.click()
    expect(page.locator("#outcome")).to_contain_text("200 in")


def test_the_button_waits_for_the_sample_of_the_model_that_was_chosen(
    guarded: str, visit: Visit
) -> None:
    page = visit(guarded)
    button = page.get_by_role("button", name="Predict")
    expect(button).to_be_enabled()
    held: list[Route] = []
    page.route("**/second/example", lambda route: held.append(route))
    choice = page.get_by_role("combobox", name="Model")
    with page.expect_request("**/second/example"):
        choice.select_option("second")
    expect(button).to_be_disabled()
    # Who changes his mind need not wait, and what comes late is not taken for this model's.
    choice.select_option("iris")
    expect(button).to_be_enabled()
    before = request(page).input_value()
    with page.expect_response("**/second/example"):
        held[0].fulfill(body="late")
    page.wait_for_timeout(100)  # for what the page would do with it
    expect(request(page)).to_have_value(before)
    expect(button).to_be_enabled()


def test_a_gpu_that_was_asked_for_and_is_not_used_is_said(guarded: str, visit: Visit) -> None:
    notices = visit(guarded).locator("#notices")
    expect(notices).to_contain_text("No GPU: one was asked for, but iris computes on the CPU")


def test_one_of_several_models_is_chosen(guarded: str, visit: Visit) -> None:
    page = visit(guarded)
    page.get_by_role("combobox", name="Model").select_option("second")
    expect(page.locator("#meaning")).to_contain_text("Another.")
    page.get_by_label("API key").fill(KEY)
    request(page).fill(FLOWER)
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#outcome b")).to_have_text("setosa, virginica")
    assert shown_answer(page) == post(guarded, FLOWER, "second", **{"X-API-Key": KEY}).json()


def test_a_wrong_key_is_refused_and_not_repeated(guarded: str, visit: Visit) -> None:
    page = visit(guarded, expects="status of 401")
    page.get_by_label("API key").fill(WRONG)
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#outcome")).to_contain_text("401 in")
    expect(page.locator("#outcome")).to_contain_text("this API key is not accepted")
    assert WRONG not in page.content()
    kept = "JSON.stringify([localStorage, sessionStorage, document.cookie, location.href])"
    assert WRONG not in page.evaluate(kept)
    page.get_by_label("API key").fill("no key has a space or a ł")
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#outcome")).to_have_text(
        "Not sent: the key has a character that no key has."
    )


def test_the_key_is_asked_for_only_where_it_is_needed(url: str, guarded: str, visit: Visit) -> None:
    expect(visit(url).locator("#key")).to_be_hidden()
    expect(visit(guarded).locator("#key")).to_be_visible()


def test_text_classes_are_shown_with_their_shares(url: str, visit: Visit) -> None:
    """A model whose classes are text, as the service describes it and as it answers."""
    page = visit(url)
    models = get(url, "v2/models")
    models["models"][0]["outputs"] = [
        {"name": "label", "datatype": "BYTES", "shape": [-1]},
        {
            "name": "probabilities",
            "datatype": "FP64",
            "shape": [-1, 2],
            "parameters": {"labels": ["died", "survived"]},
        },
    ]
    page.route("**/v2/models", lambda route: route.fulfill(json=models))
    answer = {"predictions": ["died"], "outputs": {"probabilities": [[0.65, 0.35]]}}
    page.route("**/predict/iris", lambda route: route.fulfill(json=answer))
    page.reload()
    expect(page.locator(".tensors li", has_text="Labels: died, survived")).to_have_count(1)
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#outcome b")).to_have_text("died")
    expect(page.locator("#classes p").first).to_have_text(re.compile("died.*65.0%"))


def test_a_refusal_names_the_field(url: str, visit: Visit) -> None:
    page = visit(url, expects="status of 422")
    expect(page.get_by_role("button", name="Predict")).to_be_enabled()
    request(page).fill('{"data": [[1, 2, 3]]}')
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#outcome")).to_contain_text("422 in")
    assert shown_answer(page) == post(url, '{"data": [[1, 2, 3]]}').json()


def test_a_service_that_is_not_ready_says_why(failed: str, visit: Visit) -> None:
    page = visit(failed)
    reason = get(failed, "readyz")["reason"]
    assert "golden" in reason
    expect(page.locator("#state")).to_have_text("Failed")
    expect(page.locator("#notices")).to_have_text(f"Not ready: {reason}")
    expect(page.get_by_role("button", name="Predict")).to_be_disabled()


def test_the_keyboard_is_enough(guarded: str, visit: Visit) -> None:
    page = visit(guarded)
    expect(page.get_by_role("button", name="Predict")).to_be_enabled()
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        here = page.evaluate("document.activeElement.id || document.activeElement.localName")
        reached.append(here)
        if here == "choice":
            page.keyboard.type("second")
            expect(page.locator("#meaning")).to_contain_text("Another.")
            expect(page.get_by_role("button", name="Predict")).to_be_enabled()
        if here == "key":
            page.keyboard.type(KEY)
        if here == "predict":
            page.keyboard.press("Enter")
            break
    fields = [f"field-0-{column}" for column in range(4)]
    assert reached == ["choice", *fields, "summary", "key", "predict"]
    expect(page.locator("#outcome")).to_contain_text("200 in")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Control+A")
    page.keyboard.type(FLOWER)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#outcome b")).to_have_text("setosa, virginica")
    assert page.evaluate("document.activeElement.id") == "body"


@pytest.mark.parametrize("slash", ["", "/"], ids=["without-slash", "with-slash"])
def test_it_works_behind_a_path_prefix(prefixed: str, visit: Visit, slash: str) -> None:
    page = visit(f"{prefixed}{slash}")
    expect(page.locator("#state")).to_have_text("Ready")
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#outcome")).to_contain_text("200 in")
    expect(page.locator("figure")).to_have_count(4)
    links = page.locator("a").evaluate_all("all => all.map((link) => link.href)")
    assert {link.removeprefix(f"{prefixed}/") for link in links} >= {"docs", "metrics"}
    assert all(link.startswith(f"{prefixed}/") for link in links)


def test_it_is_small_and_one_document(url: str, visit: Visit) -> None:
    answer = httpx.get(url, headers={"Accept-Encoding": "gzip"})
    assert int(answer.headers["content-length"]) < MOST_BYTES
    assert answer.text == httpx.get(url, headers={"Accept-Encoding": "identity"}).text
    page = visit(url)
    expect(page.locator("#state")).to_have_text("Ready")
    loaded = page.evaluate(
        "performance.getEntriesByType('resource').map((each) => each.initiatorType)"
    )
    assert set(loaded) <= {"fetch"}


def test_the_policy_refuses_foreign_code_and_markup(url: str, visit: Visit) -> None:
    """Were something of an answer taken for markup, the browser would not run it."""
    page = visit(url, expects="TrustedHTML")
    with pytest.raises(Exception, match="TrustedHTML"):
        page.evaluate("document.body.innerHTML = '<b>foreign</b>'")
    policy = httpx.get(url).headers["content-security-policy"]
    assert "unsafe" not in policy


def test_switched_off_it_is_not_there(service_python: Path, rendered_service: Path) -> None:
    with running(service_python, rendered_service, PAGE="off") as off:
        answer = httpx.get(off)
        unknown = httpx.get(f"{off}/unknown")
        assert answer.status_code == unknown.status_code == 404
        assert answer.json() == json.loads(unknown.text.replace("/unknown", "/"))
        assert httpx.get(f"{off}/readyz").status_code == 200
