import pytest

from dskd_core.config import SourceConfig
from dskd_core.relations import ORIGINS, PAIRS
from dskd_core.relations.tables import QUALITY


def pairs_of(artifact):
    return {(r["word_a"], r["word_b"]): r for r in artifact.table(PAIRS).to_pylist()}


def labels(artifact):
    return {pair: (r["relation"], r["tier"]) for pair, r in pairs_of(artifact).items()}


def test_a_pair_is_one_row_in_order_whatever_way_and_case_it_was_said(build):
    artifact = build("zeal,Ardour,synonym,\nardour,zeal,synonym,noun\n", "Zeal,ardour,synonym,\n")
    (row,) = artifact.table(PAIRS).to_pylist()
    assert (row["word_a"], row["word_b"]) == ("ardour", "zeal")
    assert row["sources"] == ["word_pairs:pairs-0.csv", "word_pairs:pairs-1.csv"]
    origins = artifact.table(ORIGINS).to_pylist()
    assert len(origins) == 3
    assert {r["word_a"] for r in origins} == {"Ardour", "ardour"}


def test_matching_folds_case_beyond_ascii(build):
    artifact = build("straße,weg,synonym,\nSTRASSE,weg,synonym,\nÉtude,study,synonym,\n")
    assert set(pairs_of(artifact)) == {("straße", "weg"), ("study", "Étude")}


def test_the_antonym_wins_where_sources_disagree_and_the_conflict_is_counted(build):
    artifact = build("hot,cold,synonym,\n", "cold,hot,antonym,\n")
    assert labels(artifact) == {("cold", "hot"): ("antonym", "source")}
    assert artifact.record.report["counts"]["conflicts_within_a_tier"] == 1


def test_a_source_wins_over_a_derived_pair(build):
    artifact = build("unkind,cruel,synonym,\nkind,cruel,synonym,\n")
    assert labels(artifact)["cruel", "kind"] == ("synonym", "source")
    assert artifact.record.report["counts"]["conflicts"] == 1


def test_one_negated_word_turns_the_label_and_two_keep_it(build):
    found = labels(build("unkind,unfriendly,synonym,\n"))
    assert found == {
        ("unfriendly", "unkind"): ("synonym", "source"),
        ("kind", "unfriendly"): ("antonym", "sure"),
        ("friendly", "unkind"): ("antonym", "sure"),
        ("friendly", "kind"): ("synonym", "sure"),
    }


def test_a_derived_pair_knows_its_parent_affix_weight_and_licences(build):
    row = pairs_of(build("faultless,accurate,synonym,\n"))["accurate", "fault"]
    assert row["parent"] == "accurate|faultless"
    assert (row["affix"], row["tier"], row["relation"]) == ("-less", "loose", "antonym")
    assert row["weight"] == pytest.approx(0.25)
    assert row["licences"] == ["CC BY-SA 3.0", "unstated"]


def test_bare_nouns_are_not_made_synonyms_of_each_other(build):
    found = labels(build("faultless,flawless,synonym,\n"))
    assert ("fault", "flaw") not in found
    assert found["fault", "flawless"] == ("antonym", "loose")
    assert found["faultless", "flawed"] == ("antonym", "likely")


def test_parts_of_speech_must_agree_where_both_are_known(build):
    assert len(pairs_of(build("untie,loosen,synonym,noun\n"))) == 1
    assert labels(build("untie,loosen,synonym,verb\n"))["loosen", "tie"] == ("antonym", "sure")


def test_a_tier_that_is_not_asked_for_makes_nothing(build):
    text = "accurate,faultless,synonym,\nunkind,mean,synonym,\n"
    tiers = {tier for _, tier in labels(build(text, negation_tiers=("sure",))).values()}
    assert tiers == {"source", "sure"}


def test_rows_of_an_excluded_licence_leave_no_descendants(build):
    texts = ("unkind,cruel,synonym,\n", "unfriendly,cold,synonym,\n")
    artifact = build(
        *texts, licences=("CC BY-NC-SA 4.0", "CC0"), excluded_licences=("CC BY-NC-SA 4.0",)
    )
    assert set(pairs_of(artifact)) == {("cold", "unfriendly"), ("cold", "friendly")}
    assert artifact.record.report["counts"]["excluded_licence"] == 1
    assert artifact.record.config["excluded_licences"] == ["CC BY-NC-SA 4.0"]


def test_without_the_licence_of_the_morphology_nothing_flips(build):
    artifact = build("unkind,cruel,synonym,\n", excluded_licences=("CC BY-SA 3.0",))
    assert set(pairs_of(artifact)) == {("cruel", "unkind")}


def test_parts_of_speech_can_be_left_out(build):
    artifact = build("Rome,city,synonym,name\nbig,large,synonym,adj\n", excluded_pos=("name",))
    assert set(pairs_of(artifact)) == {("big", "large")}


def test_a_word_is_never_paired_with_its_own_base(build):
    artifact = build("unkind,kind,antonym,\n")
    assert set(pairs_of(artifact)) == {("kind", "unkind")}
    assert artifact.record.report["counts"]["derived_self_pairs"] == 1


def test_the_report_has_clean_checks_and_samples_of_each_tier(build):
    report = build("accurate,faultless,synonym,\nunkind,mean,synonym,\n").record.report
    assert not any(report["checks"].values())
    assert report["samples"]["loose"] == ["accurate / fault: antonym from accurate|faultless"]
    assert set(report["samples"]) == {"source", "sure", "loose"}


def test_two_builds_have_equal_bytes(build):
    text = "accurate,faultless,synonym,\nunkind,mean,synonym,\n"
    assert build(text, root="a").record.content == build(text, root="b").record.content


def test_a_tier_of_weight_0_makes_nothing(build):
    weights = {"sure": 1.0, "likely": 0.5, "loose": 0.0}
    artifact = build("accurate,faultless,synonym,\n", tier_weights=weights)
    assert set(pairs_of(artifact)) == {("accurate", "faultless")}


NC = "CC BY-NC-SA 4.0"


def test_one_setting_drops_every_non_commercial_row_and_what_is_derived_from_it(build):
    texts = ("unkind,cruel,synonym,\n", "unfriendly,cold,synonym,\n")
    artifact = build(*texts, licences=(NC, "CC0"), commercial=True)
    assert set(pairs_of(artifact)) == {("cold", "unfriendly"), ("cold", "friendly")}
    assert artifact.record.report["left_out"]["licence"] == {NC: 1}


def test_a_pair_of_several_origins_survives_with_the_allowed_ones(build):
    text = "unkind,cruel,synonym,\n"
    row = pairs_of(build(text, text, licences=(NC, "CC0"), commercial=True))["cruel", "kind"]
    assert row["sources"] == ["word_pairs:pairs-1.csv"]
    assert row["licences"] == ["CC BY-SA 3.0", "CC0"]


def test_a_source_is_left_out_by_its_reader_or_by_its_name(build):
    texts = ("big,large,synonym,\n", "hot,cold,antonym,\n")
    artifact = build(*texts, excluded_sources=("word_pairs:pairs-0.csv",))
    assert set(pairs_of(artifact)) == {("cold", "hot")}
    assert artifact.record.report["left_out"]["source"] == {"word_pairs:pairs-0.csv": 1}
    assert pairs_of(build(*texts, excluded_sources=("word_pairs",))) == {}


def test_without_the_source_of_the_morphology_nothing_flips(build):
    artifact = build("unkind,cruel,synonym,\n", excluded_sources=("morphynet",))
    assert set(pairs_of(artifact)) == {("cruel", "unkind")}
    assert artifact.record.report["left_out"]["derivation_source"] == {"morphynet": 7}


def test_the_report_can_be_read_as_a_page(build):
    artifact = build("accurate,faultless,synonym,\nhot,cold,antonym,name\n", excluded_pos=("name",))
    page = (artifact.folder() / QUALITY).read_text("utf-8")
    assert "| pos | name | 1 |" in page
    assert r"- accurate / fault: antonym from accurate\|faultless" in page
    assert "| words | with_synonyms | with_antonyms | with_both |" in page
    assert "| 3 | 2 | 2 | 1 |" in page  # accurate, faultless; fault only as an antonym


def test_affixes_are_compared_with_a_reference(build, tmp_path):
    known = tmp_path / "known.csv"
    known.write_text("unkind,kind,antonym\nfriendly,kind,synonym\nunfriendly,hostile,synonym\n")
    reference = SourceConfig(kind="word_pairs", uri=str(known))
    artifact = build("unkind,unfriendly,synonym,\n", reference=reference)
    (row,) = artifact.record.report["reference"]
    # unkind/kind and unfriendly/friendly are known; one is listed, and all of those are found.
    assert row == {
        "affix": "un-",
        "tier": "sure",
        "n_known": 2,
        "n_antonyms": 1,
        "n_synonyms": 0,
        "precision": 0.5,
        "recall": 1.0,
    }
    assert "hostile" not in str(sorted(pairs_of(artifact)))
