import pytest


def test_the_root_of_a_line_is_paired_with_each_word(read):
    rows, report = read("moby", "glad,happy,joyful,Glad\nfond\n")
    assert [(r.word_a, r.word_b) for r in rows] == [("glad", "happy"), ("glad", "joyful")]
    assert rows[0].weight == pytest.approx(2 / 4)
    assert report.counts == {"self_link": 1}
