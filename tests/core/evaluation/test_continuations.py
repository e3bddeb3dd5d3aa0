"""Continuations by a random llama and its students, against a naive loop."""

import numpy as np
import pytest
import torch

from dskd_core.corpus.store import load_windows
from dskd_core.decoder.tokenizer import load_tokenizer
from dskd_core.evaluation.continuations import (
    BEGINNING_TOKENS,
    NEW_TOKENS,
    choose_documents,
    read_rows,
    write_continuations,
)
from dskd_core.evaluation.report.page import Page, to_html, to_markdown
from dskd_core.evaluation.report.text import continuation_sections
from dskd_core.store.verification import verify
from flows import tables

N_DOCUMENTS = 2


@pytest.fixture(scope="module")
def written(miniature):
    models = [miniature.teacher(), miniature.student("kd", 0)]
    config = miniature.config.teacher
    return write_continuations(miniature.store, N_DOCUMENTS, config, miniature.corpus(), models)


@torch.no_grad()
def naive(folder, tokenizer, ids):
    """Append the most probable token of the whole text, again and again."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids, new = list(ids), []
    while len(new) < NEW_TOKENS:
        logits = model(torch.tensor([ids + new])).logits[0, -1, : tokenizer.n_tokens]
        token = int(logits.argmax())
        if token == tokenizer.hf.eos_token_id:
            break
        new.append(token)
    return tokenizer.decode(new)


def test_each_model_goes_on_with_the_same_beginnings_as_a_naive_loop_does(miniature, written):
    windows, tokenizer = (
        load_windows(miniature.corpus()),
        load_tokenizer(miniature.teacher().folder()),
    )
    folders = {
        "teacher": miniature.config.teacher.source,
        "kd": miniature.student("kd", 0).folder() / "model",
    }
    rows = read_rows(written)
    assert [row["arm"] for row in rows] == ["text", "teacher", "kd"] * N_DOCUMENTS
    assert [row["seed"] for row in rows[:3]] == [None, None, 0]
    ids = miniature.corpus().table("documents.parquet")["document_id"].to_pylist()
    for row in rows:
        document = ids.index(row["document"])
        assert windows.heldout[windows.documents == document].all()
        whole = windows.document(document)
        begun, rest = whole[:BEGINNING_TOKENS], whole[BEGINNING_TOKENS:][:NEW_TOKENS]
        assert len(rest) == NEW_TOKENS, "documents that go on long enough come first"
        assert row["beginning"] == tokenizer.decode(begun.tolist())
        if row["arm"] == "text":
            assert row["continuation"] == tokenizer.decode(rest.tolist())
        else:
            assert row["continuation"] == naive(folders[row["arm"]], tokenizer, begun)
    assert rows[0]["document"] != rows[3]["document"]
    assert verify(written.uri).problems == []


def test_short_documents_come_last_and_their_half_is_the_beginning(miniature):
    windows = load_windows(miniature.corpus())
    every = choose_documents(windows, 1000)
    assert sorted(every) == np.unique(windows.documents[windows.heldout]).tolist()
    lengths = [len(windows.document(document)) for document in every]
    is_short = [length < BEGINNING_TOKENS + NEW_TOKENS for length in lengths]
    assert is_short == sorted(is_short)


HOSTILE = "# x\n![](http://127.0.0.1:9/a.png) <img src=//127.0.0.1:9/b.png>\x1b[2J|"


def hostile_rows():
    row = {"document": "d", "beginning": HOSTILE, "arm": "kd", "seed": 0, "continuation": HOSTILE}
    return [row, row | {"arm": "teacher", "seed": None, "continuation": "  "}]


def test_foreign_text_stays_text_on_the_page_and_on_the_terminal(tmp_path, capsys):
    page = Page("t", tuple(continuation_sections(hostile_rows())))
    text, html = to_markdown(page), to_html(page, tmp_path)
    assert r"!\[\](http\:" in text
    assert "<img src=//" not in text + html
    assert "&lt;img src=//127" in html
    assert "| teacher | (ends here) |" in text
    tables.print_continuations([row | {"writer": row["arm"]} for row in hostile_rows()])
    shown = capsys.readouterr().out
    assert shown.count("<img src=//127.0.0.1:9/b.png>") == 2, "as it is: nothing obeys it"
    assert "\x1b[2J" not in shown
    assert len(shown.strip().splitlines()) == 3
