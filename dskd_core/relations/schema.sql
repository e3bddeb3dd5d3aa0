-- Words as they are written, and the key they are matched by. Only words that are not plain ASCII
-- stand in folded: for the others the key is lower(word).
CREATE TABLE folded (word TEXT, key TEXT);

-- Everything anyone says about two words. key_a < key_b; word_a and word_b are their spellings.
CREATE TABLE origins (
    key_a    TEXT NOT NULL,
    key_b    TEXT NOT NULL,
    word_a   TEXT NOT NULL,
    word_b   TEXT NOT NULL,
    relation TEXT NOT NULL,     -- synonym, antonym
    weight   FLOAT NOT NULL,    -- in (0, 1]
    rank     TINYINT NOT NULL,  -- of tiers: source 0, sure 1, likely 2, loose 3
    affix    TEXT NOT NULL,     -- un-, -less, un- dis- (of word_a, word_b); empty for a source
    parent   TEXT NOT NULL,     -- accurate|faultless; empty for a source
    source   TEXT NOT NULL,
    pos      TEXT NOT NULL,
    sense    TEXT NOT NULL,
    tags     TEXT[] NOT NULL,
    licences TEXT[] NOT NULL
);

-- word negates base (see morphology.py).
CREATE TABLE negations (
    key      TEXT NOT NULL,
    base_key TEXT NOT NULL,
    base     TEXT NOT NULL,
    affix    TEXT NOT NULL,
    rank     TINYINT NOT NULL,
    factor   FLOAT NOT NULL,    -- weight of the tier
    pos      TEXT NOT NULL,
    licences TEXT[] NOT NULL
);

CREATE TABLE tiers (rank TINYINT PRIMARY KEY, tier TEXT NOT NULL);
INSERT INTO tiers VALUES (0, 'source'), (1, 'sure'), (2, 'likely'), (3, 'loose');
