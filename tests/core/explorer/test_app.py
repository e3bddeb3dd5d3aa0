"""The explorer's pages over a miniature's artifacts."""

import contextlib
import json
import re
import shutil
import threading
import time
from dataclasses import asdict, replace
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
import pytest
import zarr

from dskd_core.decoder.tokenizer import load_tokenizer
from dskd_core.dictionary import top_tokens
from dskd_core.dictionary.queries import Sources
from dskd_core.dictionary.store import load_dictionary
from dskd_core.errors import ArtifactError, ConfigError
from dskd_core.explorer.opened import OpenDictionary, choose
from dskd_core.explorer.pages import visible
from dskd_core.explorer.words import _example
from dskd_core.senses.inventory import load_senses
from dskd_core.store.artifacts import ArtifactStore


def test_a_search_finds_words_by_their_beginning_in_any_case_with_what_they_have(client):
    answer = client.get("/search?q=LI")
    assert answer.status_code == 200
    assert '<a href="/word?q=light">light</a></td><td>' in answer.text
    assert "begin with “LI”" in answer.text
    assert "kind" not in answer.text


def test_without_a_search_the_most_frequent_come_first_whatever_their_signs(explored):
    opened = OpenDictionary(explored.store, explored.dictionary())
    blank = {"text": [" "], "key": [""], "token_id": [9], "n_occurrences": [1]}
    blank |= {key: [1] for key in ("n_senses", "n_synonyms", "n_antonyms")}
    opened.queries.add_table("blank", pa.table(blank))
    opened.queries.run("INSERT INTO found BY NAME SELECT * FROM blank")
    found = [row["n_occurrences"] for row in opened.search("")]
    assert found == sorted(found, reverse=True)
    opened.close()


def test_a_word_shows_its_senses_with_text_and_its_relations_with_origin(client, explored):
    page = client.get("/word?q=Light").text
    first = int(explored.dictionary().table("words.parquet").to_pylist()[0]["row_start"])
    assert first >= 0
    assert "<mark>light</mark>" in page
    assert "The teacher would say" in page
    assert "Nearest senses of other words" in page
    assert ">dark</a>" in page
    assert "word_pairs:pairs.csv" in page
    assert ">heavy</a>" not in page, "the exclude list struck it out"


def test_the_shares_of_a_token_are_of_its_occurrences(client, explored):
    senses = load_senses(explored.senses())
    token = int(senses.tokens[0])
    of_token = senses.counts[: senses.offsets[1]]
    page = client.get(f"/token?id={token}").text
    for n in of_token:
        assert re.search(rf"of its (clustered )?occurrences \({n}\)", page)
        assert f"{n / of_token.sum():.0%}".replace("%", " %") in page


def test_occurrences_are_counted_where_a_sample_was_clustered_and_the_page_says_so(
    client, client_of, explored, tmp_path
):
    index = explored.embeddings().group("index.zarr")
    tokens, n_rows, n_all = (index[name][:] for name in ("tokens", "n_rows", "n_occurrences"))
    capped = int((n_all - n_rows).argmax())
    assert n_all[capped] > n_rows[capped] == 20
    page = client.get(f"/token?id={tokens[capped]}").text
    assert f"{n_all[capped]:,} occurrences, 20 of them clustered" in page
    assert "of its clustered occurrences" in page
    whole = int((n_all == n_rows).argmax())
    assert "clustered" not in client.get(f"/token?id={tokens[whole]}").text
    assert "the text goes on with it" in client.get("/").text
    root = tmp_path / "root"
    shutil.copytree(explored.config.root_uri, root)
    shutil.rmtree(root / "embeddings")
    without = client_of(root)
    assert ", 20 occurrences" in without.get(f"/token?id={tokens[capped]}").text
    assert "those that were clustered: the embeddings are not under" in without.get("/").text


def test_a_token_without_senses_is_called_by_its_text(explored):
    opened = OpenDictionary(explored.store, explored.dictionary())
    tokenizer = load_tokenizer(explored.teacher().folder())
    n_senses = np.diff(opened.rows.own_offsets)[: tokenizer.n_tokens]
    absent = int(np.flatnonzero(n_senses == 0)[-1])
    assert opened.text_of(absent) == tokenizer.decode([absent])
    opened.close()


@pytest.mark.parametrize(
    ("text", "keeps_spaces", "shown"),
    [
        (("the ratio of", " light", " light", ", as"), True, "the ratio of [light], as"),
        (("(high", "light", "light", "ed in"), True, "(high[light]ed in"),
        (("On this", " view", " basis", ", he"), True, "On this [view](basis), he"),
        (("298", " light", " how", "itzers"), True, "298 [light](how) itzers"),
        (("by", " light", "\n", "The"), True, "by [light](\n) The"),
        (("the ratio of", "light", "light", "from"), False, "the ratio of [light] from"),
        (("", "\n", "\n", " The"), True, "[\n] The"),
    ],
)
def test_an_example_has_the_spaces_of_the_text_and_what_it_has_instead(text, keeps_spaces, shown):
    row = dict(zip(("left", "token", "written", "right"), text, strict=True))
    said = _example(SimpleNamespace(keeps_spaces=keeps_spaces), row | {"document_id": "1"})
    written = f"({said.written})" if said.written else ""
    assert f"{said.left}[{said.token}]{written}{said.right}" == shown


def test_a_word_of_several_tokens_shows_what_each_sense_was_made_of(client, explored):
    words = explored.dictionary().table("words.parquet").to_pylist()
    composed = [w for w in words if len(w["token_ids"]) > 1 and w["row_start"] >= 0]
    page = client.get("/word?" + urlencode({"q": composed[0]["word"]})).text
    assert composed[0]["word"] == "river water"
    assert "Composed sense 0" in page
    assert page.count('<ol class="parts">') == composed[0]["row_stop"] - composed[0]["row_start"]


def test_of_a_large_dictionary_rows_are_read_by_slice_and_neighbours_come_later(
    client, client_of, explored, settled
):
    large = client_of(explored.config.root_uri, in_memory_bytes=0)
    page = large.get("/word?q=light").text
    address = unescape(re.search(r'data-load="([^"]*)"', page)[1])
    late = settled(large, address)
    whole = client.get("/word?q=light").text
    chips = r'<span class="chip">.*?</span>'
    assert "chip" not in page
    assert re.findall(chips, late, re.DOTALL) == re.findall(chips, whole, re.DOTALL)


def test_a_row_leads_to_its_sense(client):
    answer = client.get("/sense?row=0", follow_redirects=False)
    assert answer.status_code == 307
    place, _, anchor = answer.headers["location"].partition("#")
    assert f'id="{anchor}"' in client.get(place).text


def test_a_page_does_not_wait_for_the_teachers_head_and_is_filled_in_when_it_is_read(
    client_of, client, explored, monkeypatch
):
    may_read = threading.Event()
    load = top_tokens.load_top_token_reader

    def load_late(teacher):
        assert may_read.wait(timeout=60)
        return load(teacher)

    monkeypatch.setattr(top_tokens, "load_top_token_reader", load_late)
    late = client_of(explored.config.root_uri)
    page = late.get("/word?q=light").text
    assert "The teacher would say" not in page
    assert "<mark>" in page
    address = unescape(re.search(r'data-load="(/said[^"]*)"', page)[1])
    assert "Checking and reading the teacher" in late.get(address).text
    waiting = late.get("/training").text
    assert "Checking and reading the teacher" in waiting
    assert "KD, seed 0" not in waiting
    may_read.set()
    for _ in range(600):
        if "data-job" not in (filled := late.get(address).text):
            break
        time.sleep(0.1)
    rows = re.findall(r'data-place="said-(\d+)"', filled)
    whole = client.get("/word?q=light").text
    said = re.compile(r'<p class="said">.*?</p>')
    assert rows == re.findall(r'id="row-(\d+)"', whole)
    assert said.findall(filled) == said.findall(whole) != []
    assert "KD, seed 0" in late.get("/training").text


def test_where_the_teachers_head_cannot_be_read_the_page_says_why(client_of, explored, monkeypatch):
    why = lambda teacher: "the teacher's weights are not on this machine"  # noqa: E731
    monkeypatch.setattr(top_tokens, "load_top_token_reader", why)
    without = client_of(explored.config.root_uri)
    row = re.search(r'id="row-(\d+)"', without.get("/word?q=light").text)[1]
    filled = without.get(f"/said?row={row}").text
    assert "is not shown: the teacher&#39;s weights are not on this machine." in filled
    assert f'data-place="said-{row}"' in filled
    assert "is not shown: the teacher&#39;s weights" in without.get("/word?q=light").text
    assert without.get("/said?row=99999999").status_code == 404


def test_a_blank_token_can_be_seen_and_followed_where_a_word_has_one():
    assert visible(" ") == "␣"
    assert visible(" \n") == " ↵"
    assert visible(" a b") == " a b"


def test_an_unknown_word_is_answered_with_the_nearest_by_edit_distance(client):
    answer = client.get("/word?q=lihgt")
    assert answer.status_code == 404
    assert "knows no &#39;lihgt&#39;" in answer.text
    assert '<a href="/word?q=light">light</a>' in answer.text


def test_an_accent_is_no_edit_and_a_letter_is_not_near_every_other_letter(explored):
    with contextlib.closing(OpenDictionary(explored.store, explored.dictionary())) as opened:
        opened.queries.run("INSERT INTO found VALUES ('A', 'a', -1, 1, 0, 0, 9)", "pairs")
        assert opened.suggestions("lïghtt") == ["light"]
        assert opened.suggestions("Á") == ["A"]
        assert opened.suggestions("%") == opened.suggestions("") == []


def test_a_word_that_is_a_token_alone_is_answered_with_that(client, explored):
    opened = OpenDictionary(explored.store, explored.dictionary())
    token = next(
        row
        for row in opened.search("", 1000)
        if row["token_id"] >= 0
        and row["text"].strip().isalpha()
        and opened.queries.spelled(row["text"]) is None
    )
    opened.close()
    page = client.get("/word?" + urlencode({"q": token["text"].strip().upper()})).text
    assert "As a token, outside the lexicon" in page
    assert f'href="/token?id={token["token_id"]}"' in page


@pytest.mark.parametrize("path", ["/word", "/search", "/", "/map", "/compare", "/pair"])
def test_markup_is_shown_as_text_and_never_run(client, path):
    evil = "<script>alert(1)</script>"
    parameters = {"q": evil, "word": evil, "a": evil, "b": evil}
    page = client.get(f"{path}?{urlencode(parameters)}").text
    assert evil not in page
    if path != "/pair":
        assert "&lt;script&gt;" in page


@pytest.mark.parametrize(
    "path",
    ["/../pyproject.toml", "/%2e%2e/%2e%2e/etc/passwd", "/explorer.css/../app.py", "/base.html.j2"],
)
def test_no_address_names_a_file(client, path):
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize(
    ("path", "mode"),
    [
        ("/training?run=yes", "no-cors"),
        ("/training?run=yes", "navigate"),
        ("/map?method=tsne", "navigate"),
        ("/word?q=light", "cors"),
        ("/", "no-cors"),
        ("/?q=light", "navigate"),
    ],
)
def test_a_page_of_another_site_starts_no_work_here(client, site, path, mode):
    answer = client.get(path, headers={"sec-fetch-site": site, "sec-fetch-mode": mode})
    assert answer.status_code == 403
    assert "A page of another site asked for this" in answer.text
    assert "default-src" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("site", ["none", "same-origin"])
def test_a_typed_address_and_a_link_to_the_first_page_are_answered(client, site):
    assert client.get("/word?q=light", headers={"sec-fetch-site": site}).status_code == 200
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert client.get("/", headers=link).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example"])
def test_another_name_for_this_machine_is_refused(client, host):
    assert client.get("/", headers={"host": host}).status_code == 400
    assert client.get("/", headers={"host": "localhost:4711"}).status_code == 200


@pytest.mark.parametrize("method", ["post", "put", "delete", "patch"])
def test_only_get_is_answered(client, method):
    assert getattr(client, method)("/").status_code == 405


def test_every_answer_forbids_other_origins(client):
    for path in ("/", "/explorer.js", "/word?q=nothing-here", "/nowhere"):
        headers = client.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'self'")
        assert headers["x-content-type-options"] == "nosniff"


def test_a_root_without_a_dictionary_is_told_in_a_sentence_and_looked_at_again(
    client_of, explored, tmp_path
):
    client = client_of(tmp_path)
    answer = client.get("/")
    assert answer.status_code == 500
    assert "run the stage first" in answer.text
    shutil.copytree(explored.config.root_uri, tmp_path, dirs_exist_ok=True)
    assert client.get("/").status_code == 200


@pytest.mark.parametrize("name", ["rows/c/0/0", "own_offsets/c/0"])
def test_a_damaged_chunk_is_one_sentence_on_the_page(client_of, explored, tmp_path, name):
    root = tmp_path / "root"
    shutil.copytree(explored.config.root_uri, root)
    for chunk in root.glob(f"dictionary/*/dictionary.zarr/{name}"):
        content = bytearray(chunk.read_bytes())
        content[7] ^= 1
        chunk.write_bytes(bytes(content))
    answer = client_of(root).get("/word?q=light")
    assert answer.status_code >= 404
    assert "is damaged" in answer.text
    assert "Traceback" not in answer.text


def test_what_training_did_comes_from_the_scores(client, explored):
    page = client.get("/training").text
    assert "KD, seed 0" in page
    assert "DSKD, seed 0" in page
    assert "10 of " in page
    assert page.count("Antonyms’ senses</span>") == 10
    scores = {a.record.report["arm"]: a for a in explored.store.of_stage("scores")}
    ce = {arm: scores[arm].table("positions.parquet")["ce"].to_numpy() for arm in ("kd", "paper")}
    largest = abs(ce["kd"] - ce["paper"]).argmax()
    first = page.split("<article")[1]
    assert f"KD {ce['kd'][largest]:.3g} nats" in first
    assert f"DSKD {ce['paper'][largest]:.3g} nats" in first


def test_any_two_arms_are_compared_at_all_positions_or_at_those_with_antonyms(client, explored):
    scores = {a.record.report["arm"]: a for a in explored.store.of_stage("scores")}
    tables = {arm: scores[arm].table("positions.parquet") for arm in ("kd", "paper")}
    has_antonyms = np.diff(load_dictionary(explored.dictionary()).antonyms.offsets) > 0
    counted = has_antonyms[tables["kd"]["label"].to_numpy()]
    ce = {arm: table["ce"].to_numpy()[counted] for arm, table in tables.items()}
    assert 0 < counted.sum() < len(counted)
    page = client.get("/training?baseline=paper&arm=kd&among=antonyms").text
    assert f"10 of {counted.sum()} held-out positions whose next token has antonyms" in page
    largest = abs(ce["kd"] - ce["paper"]).argmax()
    first = page.split("<article")[1]
    assert f"DSKD {ce['paper'][largest]:.3g} nats" in first
    assert not re.search(r"Antonyms’ senses</span><small>none", page)
    assert "DSKD minimised ce + kl + positive + negative. KD minimised ce + kl." in page
    assert "/training?run=yes&amp;baseline=paper&amp;arm=kd&amp;among=antonyms" in page
    for chosen, said in (("arm=other", "choose among kd, paper"), ("arm=kd", "with itself")):
        refused = client.get(f"/training?{chosen}")
        assert refused.status_code == 404
        assert said in refused.text


def test_students_of_other_runs_are_told_by_their_steps_and_not_compared(
    client_of, explored, tmp_path
):
    root = tmp_path / "root"
    shutil.copytree(explored.config.root_uri, root)
    [kd] = [a for a in explored.store.of_stage("student") if a.record.report["arm"] == "kd"]
    place = root / "student" / kd.fingerprint / "record.json"
    record = replace(kd.record, counts=kd.record.counts | {"steps": 1}).sealed()
    place.write_text(json.dumps(asdict(record)))
    page = client_of(root).get("/training").text
    assert "KD, seed 0, 1 step<" in page
    assert "no seed was scored with KD and DSKD in one run" in page


def test_students_run_where_that_is_asked_for_and_a_missing_weight_is_said(
    client, client_of, explored, settled, tmp_path
):
    page = client.get("/training").text
    assert "before training</td>" not in page
    address = re.search(r'href="(/training\?run=yes)"', page)[1]
    ran = settled(client, address)
    assert "<td>before training</td>" in ran
    first, *rest = re.findall(r"<tr><td>(.*?)</td>", ran.split("</table>")[0])
    assert first == "student before training", "in front of those it became"
    assert rest == ["KD, seed 0", "DSKD, seed 0"]
    assert ran.count("the teacher’s state</td>") == 10
    assert "Run the students here" not in ran
    root = tmp_path / "root"
    shutil.copytree(explored.config.root_uri, root)
    for weights in root.glob("student/*/model/model.safetensors"):
        weights.unlink()
    refused = settled(client_of(root), address)
    assert "The students did not run: " in refused
    assert "model.safetensors" in refused
    assert "Own and synonyms’ senses" in refused


def test_a_dictionary_without_students_names_the_one_that_has_some(client_of, explored):
    before, after = explored.store.of_stage("dictionary")
    older = client_of(explored.config.root_uri, dictionary=before.fingerprint)
    page = older.get("/training").text
    assert "No student of this dictionary was scored" in page
    assert f"--dictionary {after.fingerprint} shows them" in page


def test_the_odd_ones_out_are_listed_with_their_text(client, settled):
    page = settled(client, "/odd")
    assert re.search(r"1 to \d+ of \d+", page)
    assert "<mark>" in page
    assert re.search(r'href="/word\?q=\w+#row-\d+"', page)
    assert "the last is" in client.get("/odd?page=99").text


def test_two_dictionaries_are_compared_and_a_words_senses_are_drawn(client, settled):
    page = settled(client, "/compare?word=light")
    assert "pairs removed" in page
    assert "heavy|light (antonym)" in page
    assert "How the senses of" in page
    assert page.count("<circle") > 2
    assert "<line" not in page, "what did not move has no arrow"
    assert "MSE 0," in page, "the senses are the same in both"
    composed = settled(client, "/compare?" + urlencode({"word": "river water"}))
    assert "river water is no single token" in composed


def test_senses_that_moved_are_listed_with_how_far_and_drawn(
    client_of, explored, settled, tmp_path
):
    root, after = tmp_path / "root", explored.dictionary()
    shutil.copytree(explored.config.root_uri, root)
    moved = ArtifactStore(str(root)).get("dictionary", after.fingerprint)
    group = zarr.open_group(f"{moved.uri}/dictionary.zarr", mode="r+")
    group["rows"][1] = group["rows"][1] + np.float16(2.0)
    client = client_of(root)
    page = settled(client, "/compare")
    assert "The senses that moved farthest" in page
    assert page.count("<line") == 1
    address = unescape(re.search(r'href="([^"]*kind=senses\+moved[^"]*)"', page)[1])
    table = settled(client, address)
    assert "1 to 1 of 1" in table
    assert '<a href="/sense?row=1">1 (row 1)</a>' in table
    assert re.search(r"<td>(4\.00|3\.99|4\.01)</td>", table)


def test_all_that_changed_is_listed_page_by_page(client, explored, settled, monkeypatch):
    monkeypatch.setattr("dskd_core.explorer.content._PAGE_ROWS", 1)
    before, after = (a.fingerprint for a in explored.store.of_stage("dictionary"))
    address = "/changes?" + urlencode({"before": before, "after": after, "kind": "pairs removed"})
    first = settled(client, address)
    n = int(re.search(r"1 to 1 of (\d+)", first)[1])
    assert n > 1
    pages = [client.get(f"{address}&page={number}").text for number in range(1, n + 1)]
    listed = [row for page in pages for row in re.findall(r"<tr><td>(.*?)</tr>", page)]
    assert len(set(listed)) == n
    assert sum(">heavy</a></td><td><a" in row and ">light<" in row for row in listed) == 1
    assert "the last is" in client.get(f"{address}&page={n + 1}").text
    assert "Nothing is listed as" in client.get(address.replace("removed", "eaten")).text
    assert "no dictionary zork" in client.get(f"/changes?before=zork&after={after}&kind=x").text


def test_a_root_lists_its_dictionaries_and_any_of_them_can_be_opened(client, client_of, explored):
    before, after = explored.store.of_stage("dictionary")
    page = client.get("/").text
    assert f"compare?before={before.fingerprint}&amp;after={after.fingerprint}" in page
    command = f"dskd explore {explored.config.root_uri} --dictionary {before.fingerprint}"
    assert command in page
    assert ">heavy</a>" not in client.get("/word?q=light").text
    older = client_of(explored.config.root_uri, dictionary=before.fingerprint[:6])
    assert f"<code>{before.fingerprint}</code> ·" in older.get("/").text
    assert ">heavy</a>" in older.get("/word?q=light").text, "nothing struck it out of this one"


def test_a_dictionary_that_is_not_there_or_not_the_only_one_is_refused_by_name(explored):
    names = [a.fingerprint for a in explored.store.of_stage("dictionary")]
    with pytest.raises(ArtifactError, match=f"'zork'; those there are {', '.join(names)}"):
        choose(explored.store, "zork")
    common = next(c for c in range(16) if names[0][c] != names[1][c])
    assert choose(explored.store, names[0][: common + 1]).fingerprint == names[0]
    twins = [SimpleNamespace(fingerprint=name) for name in ("ab1", "ab2")]
    twin = SimpleNamespace(of_stage=lambda stage: twins, root_uri="here")
    with pytest.raises(ConfigError, match=r"ab1, ab2 under here all begin with 'ab'"):
        choose(twin, "ab")


def test_a_pair_of_the_explorers_lists_goes_back_into_the_lexicon(client, explored):
    picked = urlencode({"pick": "light\tdark\tantonym"})
    assert 'value="light&#9;dark&#9;antonym"' in client.get("/word?q=light").text
    listed = client.get(f"/exclude.tsv?{picked}")
    before = (Path(explored.config.lexicon.exclude_uri)).read_text()
    assert listed.text == before.replace("friendly\n", "friendly\t\n") + "light\tdark\tantonym\n"
    assert "attachment" in listed.headers["content-disposition"]
    pairs = client.get(f"/pairs.tsv?{picked}")
    relations = Sources(explored.store, explored.dictionary()).relations
    table = relations.table("pairs.parquet").to_pylist()
    [weight] = [p["weight"] for p in table if {p["word_a"], p["word_b"]} == {"light", "dark"}]
    assert pairs.text == f"word_a\tword_b\trelation\tweight\nlight\tdark\tantonym\t{weight:.6g}\n"


@pytest.mark.parametrize("name", ["exclude.tsv", "pairs.tsv"])
def test_nothing_ticked_is_the_synonyms_of_a_page_of_contradictions_and_else_refused(
    client, settled, name, monkeypatch
):
    assert "Nothing is ticked" in client.get(f"/{name}").text
    settled(client, "/contradictions")
    found = [SimpleNamespace(word=f"w{i}", synonym=f"s{i}") for i in range(3)]
    monkeypatch.setattr("dskd_core.explorer.content._PAGE_ROWS", 2)
    looked = SimpleNamespace(found=found)
    job = SimpleNamespace(is_done=lambda seconds: True, result=lambda: looked, wait=lambda: looked)
    monkeypatch.setattr("dskd_core.explorer.shelf.Shelf.contradictions", lambda shelf: job)
    text = client.get(f"/{name}?page=2").text
    assert "w2\ts2\tsynonym" in text
    assert "w0" not in text
    assert "the last is 2" in client.get(f"/{name}?page=3").text


def test_of_a_pair_the_least_distance_and_the_largest_cosine_are_marked(client, explored):
    dictionary = explored.dictionary()
    starts = {w["word"]: w for w in dictionary.table("words.parquet").to_pylist()}
    rows = dictionary.group("dictionary.zarr")["rows"][:].astype(np.float64)
    one, other = (rows[starts[w]["row_start"] : starts[w]["row_stop"]] for w in ("light", "dark"))
    mses = [((x - y) ** 2).mean() for x in one for y in other]
    cosines = [x @ y / np.sqrt((x @ x) * (y @ y)) for x in one for y in other]
    page = client.get("/pair?a=light&b=dark").text
    shown = re.findall(r'<td class="marked">([^<]+)</td>', page)
    assert [float(value) for value in shown] == pytest.approx([min(mses), max(cosines)], rel=5e-3)


def test_a_map_of_nothing_asked_for_has_words_with_senses_and_no_complaint(client, monkeypatch):
    has_senses = OpenDictionary.has_senses
    monkeypatch.setattr(
        OpenDictionary, "has_senses", lambda self, w: w != "dark" and has_senses(self, w)
    )
    monkeypatch.setattr("dskd_core.explorer.content._OF_THE_ARTICLE", ("light", "dark"))
    page = client.get("/map").text
    assert 'value="light"' in page
    assert "No senses" not in page
    assert "No senses of dark" in client.get("/map", params={"q": "light, dark"}).text


def test_the_map_has_a_link_for_every_sense_of_the_chosen_words(client, explored):
    page = client.get("/map?q=light,small").text
    words = {w["word"]: w for w in explored.dictionary().table("words.parquet").to_pylist()}
    for word in ("light", "small", "dark", "large"):
        for row in range(words[word]["row_start"], words[word]["row_stop"]):
            assert f"#row-{row}" in page
    assert "knows no &#39;zork&#39;" in client.get("/map?q=zork").text


def test_the_map_is_pca_until_tsne_is_ready(client, settled):
    pca = client.get("/map?q=light,small").text
    first = client.get("/map?q=light,small&method=tsne").text
    assert re.findall(r'cx="[^"]*"', first) == re.findall(r'cx="[^"]*"', pca)
    key = re.search(r'data-job="/progress\?job=(\w+)"', first)[1]
    told = client.get(f"/progress?job={key}").json()
    assert told["state"] in ("waiting", "running", "finished")
    ready = settled(client, "/map?q=light,small&method=tsne")
    assert "t-SNE keeps neighbours" in ready
    assert re.findall(r'cx="[^"]*"', ready) != re.findall(r'cx="[^"]*"', pca)
    assert client.get(f"/progress?job={key}").json()["state"] == "finished"
    assert client.get("/progress?job=zork").json() == {"state": "unknown"}


def test_pages_are_in_the_package(explored):
    import dskd_core.explorer

    names = {p.name for p in (Path(dskd_core.explorer.__file__).parent / "templates").iterdir()}
    assert {"explorer.css", "explorer.js", "base.html.j2"} <= names
