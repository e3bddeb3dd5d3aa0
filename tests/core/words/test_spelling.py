from dskd_core.decoder.tokenizer import load_tokenizer
from dskd_core.words.spelling import map_variants, spell, token_texts


def names(tokenizer, ids):
    return [tokenizer.hf.convert_ids_to_tokens(i).lstrip("Ġ▁") for i in ids]


def test_a_word_is_spelled_as_after_a_space_without_a_stray_prefix(folder):
    tokenizer = load_tokenizer(folder)
    spelled = dict(spell(tokenizer, ["bank", "faultless", "kind bank"]))
    assert names(tokenizer, spelled["bank"]) == ["bank"]
    assert names(tokenizer, spelled["faultless"]) == ["fault", "less"]
    assert names(tokenizer, spelled["kind bank"]) == ["kind", "bank"]
    (first,) = spelled["bank"]
    assert tokenizer.hf.convert_ids_to_tokens(first)[0] in "Ġ▁"


def test_special_tokens_are_no_spelling(folder):
    tokenizer = load_tokenizer(folder)
    special = tokenizer.hf.eos_token
    assert dict(spell(tokenizer, [f"x{special}"])) == {f"x{special}": None}


def test_tokens_read_as_in_running_text(folder):
    tokenizer = load_tokenizer(folder)
    texts = dict(token_texts(tokenizer))
    ids = tokenizer.hf.get_vocab()
    mark = "Ġ" if "Ġbank" in ids else "▁"
    assert texts[ids[f"{mark}bank"]] == " bank"
    assert texts[ids["bank"]] == "bank"
    assert tokenizer.special_ids.isdisjoint(texts)
    assert ids.get("<0x41>") not in texts


def test_every_surface_variant_maps_to_its_word(folder):
    tokenizer = load_tokenizer(folder)
    ids = tokenizer.hf.get_vocab()
    mark = "Ġ" if "Ġbank" in ids else "▁"
    found = map_variants(token_texts(tokenizer), {"bank": 0, "light": 1})
    bank = {ids[t] for t in (f"{mark}bank", "bank", f"{mark}Bank", "BANK")}
    light = {ids[t] for t in (f"{mark}light", "light", "Light")}
    assert set(found) == {(i, 0) for i in bank} | {(i, 1) for i in light}


def test_a_token_belongs_to_the_word_spelled_like_it():
    texts = [(1, " Polish"), (2, " polish"), (3, "POLISH")]
    assert map_variants(texts, {"Polish": 0, "polish": 1}) == [(1, 0), (2, 1), (3, 1)]


def test_letters_without_a_token_of_their_own_are_spelled_in_bytes_and_are_no_heads(folder):
    tokenizer = load_tokenizer(folder)
    texts = dict(token_texts(tokenizer))
    (ids,) = dict(spell(tokenizer, ["é"])).values()
    assert len(ids) >= 2
    assert not [i for i in ids if texts.get(i, "").strip()]


def test_reserved_tokens_are_no_words_though_their_names_have_letters(folder):
    tokenizer = load_tokenizer(folder)
    texts = dict(token_texts(tokenizer))
    names_of_special = {tokenizer.hf.convert_ids_to_tokens(i) for i in tokenizer.special_ids}
    assert names_of_special
    assert names_of_special.isdisjoint(texts.values())
    assert map_variants(texts.items(), dict.fromkeys(names_of_special, 0)) == []


def test_a_batch_is_spelled_as_each_word_alone(folder):
    tokenizer = load_tokenizer(folder)
    words = ["bank", "light", "faultless", "unkind bank", "Bank", "zz"]
    together = dict(spell(tokenizer, words))
    assert together == {w: dict(spell(tokenizer, [w]))[w] for w in words}
    anchored = {w: tuple(tokenizer.encode(f"a {w}")[len(tokenizer.encode("a")) :]) for w in words}
    assert together == anchored
