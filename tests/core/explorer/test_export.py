import re

import pytest

from dskd_core.errors import ConfigError, DataError
from dskd_core.explorer.export import export_pages


def test_every_link_of_an_export_leads_to_a_file_of_it(explored, tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("Light\nsmall\ndark\nzork\n")
    folder = tmp_path / "pages"
    made = export_pages(explored.config.root_uri, folder, words_file=words)
    assert made.unknown == ["zork"]
    pages = list(folder.glob("*.html"))
    assert made.n_pages == len(pages) == 3 + 1 + 3, "words, the pair of them, index, map, training"
    for page in pages:
        for address in re.findall(r'(?:href|src)="([^"]*)"', page.read_text("utf-8")):
            file, _, anchor = address.partition("#")
            if address.startswith("data:"):
                continue
            target = folder / file if file else page
            assert target.is_file(), address
            if anchor and target.suffix == ".html":
                assert f'id="{anchor}"' in target.read_text("utf-8")


def test_the_most_frequent_words_are_exported_without_a_list(explored, tmp_path):
    export_pages(explored.config.root_uri, tmp_path, most_frequent=2)
    assert len(list(tmp_path.glob("word-*.html"))) == 2


def test_an_export_of_no_known_word_is_refused(explored, tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("zork\n")
    with pytest.raises(DataError, match="zork"):
        export_pages(explored.config.root_uri, tmp_path / "pages", words_file=words)
    with pytest.raises(ConfigError, match="absent"):
        export_pages(explored.config.root_uri, tmp_path, words_file=tmp_path / "absent")
