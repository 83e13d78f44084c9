"""The report as a reader has it, in a real browser: by pointer, by keyboard, in both schemes, from a phone's width up."""

import json
from collections.abc import Callable

import pytest
from experiments_fixtures.browser import chromium, opened
from experiments_fixtures.run_folders import add_side_files, make_run
from playwright.sync_api import expect

from experiments.report import write_report
from experiments.report_data import report_data
from experiments.run_folder import read_run

HOSTILE = '</script><script>alert("x")</script><img src=x onerror=alert(1)>'


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    path = make_run(tmp_path_factory.mktemp("runs") / "digits", num_done=60, reason=HOSTILE, limits={"latency_ms": 40.0})
    add_side_files(path)
    return write_report(path)


@pytest.fixture(scope="module")
def data(report):
    return json.loads(json.dumps(report_data(read_run(report.parent))))


@pytest.fixture
def page(browser, report):
    with opened(browser, report, permissions=("clipboard-read", "clipboard-write")) as page:
        yield page


def _drawn(page) -> dict[str, int]:
    """How many points each trace of the scatter has, by its symbol."""
    traces = page.evaluate(
        "document.getElementById('scatter').data.map((t) => [t.mode, t.marker && t.marker.symbol, t.x.length])"
    )
    counts: dict[str, int] = {}
    for mode, symbol, number in traces:
        if mode != "lines":
            counts[symbol] = counts.get(symbol, 0) + number
    return counts


def _until(page, look: Callable[[], bool]) -> None:
    """Waits for what the page shows in a frame to come; the page's policy forbids Playwright's own way to wait for a script."""
    for _ in range(100):
        if look():
            return
        page.wait_for_timeout(50)
    assert look()


def _members(page) -> list[str]:
    return page.locator("#members tbody tr:visible th").all_inner_texts()


def _place(page, row: int) -> tuple[float, float]:
    return tuple(page.evaluate(f"place(document.getElementById('scatter'), {row})"))


def test_every_kind_has_a_shape_of_its_own(page, data):
    counts = _drawn(page)
    assert counts == {"circle": 59, "star": 1, "x-thin-open": 3}
    shapes = page.evaluate("Object.values(SHAPES).map(({ symbol, size }) => `${symbol} ${size}`)")
    assert len(set(shapes)) == len(shapes) == 8


def test_what_was_not_judged_is_drawn_beside_whichever_axis_it_lacks(page, data):
    page.select_option("#axis-x", "macs")
    assert _drawn(page) == {"circle": 59, "star": 1, "x-thin-open": 3, "y-down-open": 2}
    page.select_option("#axis-x", "denoising_loss")
    page.select_option("#axis-y", "macs")
    assert _drawn(page) == {"circle": 59, "star": 1, "x-thin-open": 3, "y-down-open": 2}
    row = data["kinds"].index("failed")
    page.locator("#scatter").scroll_into_view_if_needed()
    x, y = _place(page, row)
    page.mouse.click(x, y)
    dialog = page.locator("dialog[open]")
    assert dialog.locator("h2").inner_text() == data["digests"][row]
    assert len(dialog.locator("table.stages tbody td").all_inner_texts()) > 20  # costs, too


def test_a_click_on_a_point_opens_it(page, data):
    row = data["front"][2]
    page.locator("#scatter").scroll_into_view_if_needed()
    x, y = _place(page, row)
    page.mouse.move(x, y)
    page.wait_for_selector("#tip:visible")
    assert data["digests"][row] in page.locator("#tip").inner_text()
    page.mouse.click(x, y)
    dialog = page.locator("dialog[open]")
    assert dialog.locator("h2").inner_text() == data["digests"][row]
    assert "On the front, with a probability of" in dialog.inner_text()
    stages = [stage["stage"] for stage in data["stages"]["layouts"][data["stages"]["of"][row]]]
    assert dialog.locator("table.stages tbody th").all_inner_texts() == stages
    assert dialog.locator("code").inner_text().endswith(f"--pick {data['digests'][row]} --out {data['digests'][row]}")


def test_the_drawing_has_the_blocks_of_the_design(page, data):
    genes = {gene["name"]: gene for gene in data["genes"]}

    def value(name: str, row: int):
        index = genes[name]["of"][row] if "of" in genes[name] else 0
        return None if index < 0 else genes[name]["choices"][index]

    for row in range(len(data["digests"])):
        stages = ["down0", "down1", "down2", "mid", "up2", "up1", "up0"]
        blocks = {stage: value(f"{stage}.num_blocks", row) for stage in stages}
        deep = {stage: value(f"{stage}.transformer_depth", row) or 0 for stage in stages if blocks[stage]}
        expected = sum(blocks[stage] - (stage == "mid") for stage in deep if deep[stage])
        page.evaluate(f"document.getElementById('tip').replaceChildren(drawUNet({row}))")
        drawing = page.locator("#tip svg")
        assert drawing.locator(".convolution").count() == sum(blocks.values())
        assert drawing.locator(".transformer").count() == expected
        hatched = sum(blocks[stage] for stage in deep if value(f"{stage}.convolution", row) == "separable")
        assert drawing.locator(".convolution[fill^=url]").count() == hatched


def test_heights_of_the_drawing_are_to_scale(page, data):
    page.evaluate(f"document.getElementById('tip').replaceChildren(drawUNet({data['knee']}))")
    widths = [page.evaluate(f"geneValue('level{level}.width', {data['knee']})") for level in range(3)]
    heights = page.evaluate("[0, 1, 2].map((i) => stageAt(stageOf(data.knee, `down${i}`), 'down', 0, '').height)")
    assert [height / heights[0] for height in heights] == pytest.approx([width / widths[0] for width in widths])


def test_arrow_keys_go_from_point_to_point_and_enter_opens(page, data):
    page.locator("#scatter").focus()
    page.keyboard.press("Home")
    columns = {column["name"]: column["values"] for column in data["objectives"]}
    fastest = min(row for row in range(63) if columns["latency_ms"][row] == min(filter(None, columns["latency_ms"])))
    assert data["digests"][fastest] in page.locator("#tip").inner_text()
    page.keyboard.press("ArrowRight")
    assert data["digests"][fastest] not in page.locator("#tip").inner_text()
    pointed = page.evaluate("pointed")
    page.keyboard.press("Enter")
    assert page.locator("dialog[open] h2").inner_text() == data["digests"][pointed]
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    assert page.evaluate("document.activeElement.id") == "scatter"


def test_by_tab_and_enter_alone_a_member_is_opened_and_compared(page, data):
    page.locator("#members .choose").first.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.locator("dialog[open] h2").inner_text() == _members(page)[0].split()[0]
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className") == "toggle-compared":
            break
    page.keyboard.press("Enter")
    assert page.locator("dialog .toggle-compared").inner_text() == "Take out of the comparison"
    page.keyboard.press("Escape")
    assert page.locator("#members .choose").first.is_checked()
    assert page.evaluate("document.activeElement.className") == "open"


def test_headings_sort(page):
    heading = page.locator("#members thead button", has_text="latency_ms")
    cell = "#members tbody tr td:nth-child(5)"
    for order in (sorted, lambda values: sorted(values, reverse=True)):
        heading.click()
        values = [float(value) for value in page.locator(cell).evaluate_all("cells => cells.map((c) => c.dataset.value)")]
        assert values == order(values)
    assert page.locator("#members th[aria-sort=descending]").inner_text().startswith("latency_ms")
    page.locator("#members thead button", has_text="digest").click()
    assert _members(page) == sorted(_members(page))


def test_a_filter_restricts_figure_and_members(page, data):
    everything = _members(page)
    columns = {column["name"]: column["values"] for column in data["objectives"]}
    bound = sorted(columns["latency_ms"][row] for row in data["front"])[3]
    page.get_by_label("latency_ms, greatest").fill(str(bound))
    page.keyboard.press("Tab")
    kept = [row for row, value in enumerate(columns["latency_ms"]) if value is not None and value <= bound]
    members = [data["digests"][row] for row in data["front"] if row in kept]
    assert [text.split()[0] for text in _members(page)] == members
    assert page.locator("#kept").inner_text() == f"{len(kept)} of 63 designs kept, 4 of {len(data['front'])} on the front"
    _until(page, lambda: sum(_drawn(page).values()) == len(kept))
    page.locator("#reset").click()
    assert _members(page) == everything
    assert page.get_by_label("latency_ms, greatest").input_value() == ""


def test_a_filter_on_a_gene_is_chosen_from_its_values(page, data):
    page.get_by_label("level0.width, greatest").select_option(label="2")
    gene = next(gene for gene in data["genes"] if gene["name"] == "level0.width")
    num = sum(gene["choices"][gene["of"][row]] == 2 for row in range(63))
    assert page.locator("#kept").inner_text().startswith(f"{num} of 63 designs kept")
    page.get_by_label("level0.width, greatest").select_option(label="3")
    assert page.locator("#kept").inner_text().startswith("63 of 63")


def test_drawing_along_an_axis_keeps_a_part_and_a_click_lets_go(page):
    handle = page.locator(".handle[data-axis=latency_ms]")
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    x, top, height = box["x"] + box["width"] / 2, box["y"] + 8, box["height"] - 16
    page.mouse.move(x, top + 5)
    page.mouse.down()
    page.mouse.move(x, top + 60, steps=4)
    page.mouse.move(x, top + 125, steps=4)
    page.mouse.up()
    low, high = page.evaluate("state.ranges.get('latency_ms')")
    least, greatest = page.evaluate("extent('latency_ms')")
    assert (low - least) / (greatest - least) == pytest.approx(1 - 125 / height, abs=0.03)
    assert (high - least) / (greatest - least) == pytest.approx(1 - 5 / height, abs=0.03)
    assert page.get_by_label("latency_ms, least").input_value() != ""
    page.locator(".handle[data-axis=latency_ms]").click()
    assert page.evaluate("state.ranges.size") == 0


def test_axes_are_chosen(page):
    before = page.locator(".handle").count()
    assert before > 4
    page.locator("#axes summary").click()
    page.locator("#axes label", has_text="mid.num_blocks").locator("input").check()
    expect(page.locator(".handle[data-axis='mid.num_blocks']")).to_have_count(1)
    page.locator("#axes label", has_text="macs").locator("input").uncheck()
    expect(page.locator(".handle")).to_have_count(before)
    assert page.locator("#filters fieldset").count() == before


@pytest.mark.parametrize(("x", "y"), [("macs", "parameters"), ("latency_ms", "macs"), ("denoising_loss", "macs")])
def test_any_two_objectives_have_their_front(page, data, x, y):
    page.locator("#axis-x").select_option(x)
    page.locator("#axis-y").select_option(y)
    front = next(front for front in data["fronts"] if set(front["of"]) == {x, y})
    found = page.evaluate("rowsByKind()")
    assert set(found["front"]) | (set(found["knee"]) & set(front["rows"])) == set(front["rows"])
    assert set(found["other"]) == set(data["front"]) - set(front["rows"]) - {data["knee"]}
    row, probability = front["rows"][0], front["probability"][0]
    page.evaluate(f"showTip({row}, 0, 0)")
    told = f"{' and '.join(front['of'])} {probability:.2f}"
    assert f"P(front) of {told}" in page.locator("#tip").inner_text()
    page.evaluate(f"openDetails({row})")
    assert told in page.locator("dialog[open]").inner_text()
    titles = page.evaluate("['xaxis', 'yaxis'].map((a) => document.getElementById('scatter').layout[a].title.text)")
    assert [title.split()[0] for title in titles] == [x, y]


def test_an_objective_over_itself_is_a_figure_too(page):
    page.locator("#axis-x").select_option("denoising_loss")
    assert _drawn(page)["star"] == 1


def test_designs_are_compared_side_by_side(page, data):
    boxes = page.locator("#members .choose")
    boxes.nth(0).check()
    assert "mark another" in page.locator("#compare-hint").inner_text()
    boxes.nth(1).check()
    rows = [int(boxes.nth(i).get_attribute("data-row")) for i in (0, 1)]
    assert page.locator("#comparison svg").count() == 2
    for row in page.locator("#comparison tbody tr").all():
        texts = row.locator("td").all_inner_texts()
        assert (texts[0] == "≠") == (texts[1] != texts[2])
    named = page.locator("#comparison tbody th").all_inner_texts()
    genes = [gene for gene in data["genes"] if "of" in gene and gene["of"][rows[0]] != gene["of"][rows[1]]]
    assert set(named) == {gene["name"] for gene in genes} | {"kind", "P(front)"} | {c["name"] for c in data["objectives"]}
    _until(page, lambda: _drawn(page).get("circle-open") == 2)
    boxes.nth(2).check()
    boxes.nth(3).check()
    assert boxes.nth(4).is_disabled()
    page.locator("#comparison .toggle-compared").first.click()
    assert not boxes.nth(0).is_checked()
    assert page.locator("#comparison svg").count() == 3


def test_the_command_is_copied(page, data):
    page.locator("#members .open").first.click()
    page.locator("dialog .copy").click()
    expect(page.locator("dialog .copy")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == page.locator("dialog code").inner_text()


def test_where_the_clipboard_is_closed_the_command_is_selected(browser, report):
    with opened(browser, report) as page:
        page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')); }")
        page.locator("#members .open").first.click()
        page.locator("dialog .copy").click()
        expect(page.locator("dialog .copy")).to_have_text("Selected: press Ctrl+C")
        assert page.evaluate("getSelection().toString()") == page.locator("dialog code").inner_text()


def test_what_failed_opens_with_its_reason_as_text(page):
    page.locator("#failures .open").first.click()
    dialog = page.locator("dialog[open]")
    assert HOSTILE in dialog.inner_text()
    assert dialog.locator("img").count() == 0
    assert "not known" in dialog.locator("table.numbers").inner_text()


def test_the_scheme_of_the_reader_is_followed(page):
    def shades():
        figure = "document.getElementById('scatter').data.find((t) => t.marker && t.marker.symbol === 'star').marker.color"
        return page.evaluate(f"[getComputedStyle(document.body).backgroundColor, {figure}]")

    light = shades()
    page.emulate_media(color_scheme="dark")
    _until(page, lambda: all(before != after for before, after in zip(light, shades(), strict=True)))


@pytest.mark.parametrize("width", [360, 768, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_window(browser, report, width, scheme):
    with opened(browser, report, width=width, scheme=scheme) as page:
        page.evaluate("state.compared = data.front.slice(0, 4); changed()")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        page.locator("#members .open").first.click()
        dialog = page.locator("dialog[open]")
        assert dialog.evaluate("(box) => box.scrollWidth <= box.clientWidth")
        assert dialog.bounding_box()["x"] >= 0
        assert dialog.bounding_box()["width"] <= width


def test_everything_that_can_be_used_has_a_name(page):
    page.locator("#axes summary").click()
    page.locator("#members .open").first.click()
    nameless = page.evaluate(
        "[...document.querySelectorAll('button, select, input')].filter((one) => "
        "!one.textContent.trim() && !one.ariaLabel && !one.labels?.length).map((one) => one.outerHTML)"
    )
    assert nameless == []


def test_published_designs_stand_where_both_objectives_are_counted(browser, tmp_path):
    path = make_run(tmp_path / "run", num_done=5, space="mobile-sd", deploy_scale="sd15")
    with opened(browser, write_report(path)) as page:
        assert "square-open" not in _drawn(page)
        page.locator("#axis-x").select_option("macs")
        page.locator("#axis-y").select_option("parameters")
        assert _drawn(page)["square-open"] == 7
        page.locator("#published .open").first.click()
        assert page.locator("dialog[open] h2").inner_text() == "Stable Diffusion 1.5"
        assert page.locator("dialog[open] code").count() == 0
        assert page.locator("dialog[open] svg .transformer").count() == 3 * 2 + 3 * 3 + 1


def test_an_empty_front_is_a_page_without_figures(browser, tmp_path):
    path = make_run(tmp_path / "run", num_done=0, num_failed=2, num_infeasible=1)
    with opened(browser, write_report(path)) as page:
        page.locator("#failures .open").first.click()
        assert page.locator("dialog[open] svg").count() == 1
