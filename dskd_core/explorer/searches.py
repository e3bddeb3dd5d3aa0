"""The table that searches go through: words, and tokens outside the lexicon."""

FOUND = """
CREATE OR REPLACE TABLE found AS
WITH ends AS (
    SELECT word_a AS word, relation FROM pairs UNION ALL SELECT word_b, relation FROM pairs
),
related AS (
    SELECT word, count(*) FILTER (relation = 'synonym') AS n_synonyms,
           count(*) FILTER (relation = 'antonym') AS n_antonyms
    FROM ends GROUP BY word
),
headed AS (
    SELECT w.word, sum(t.n_senses)::BIGINT AS n_senses,
           sum(t.n_occurrences)::BIGINT AS n_occurrences
    FROM headwords h JOIN words w USING (word_id) JOIN token_counts t USING (token_id)
    GROUP BY w.word
)
SELECT r.word AS text, lower(r.word) AS key, -1 AS token_id,
       coalesce(h.n_senses, if(w.row_start >= 0, w.row_stop - w.row_start, 0)) AS n_senses,
       r.n_synonyms, r.n_antonyms, coalesce(h.n_occurrences, 0) AS n_occurrences
FROM related r LEFT JOIN words w ON w.word = r.word LEFT JOIN headed h ON h.word = r.word
UNION ALL
SELECT text, lower(trim(text)), token_id, n_senses, 0, 0, n_occurrences
FROM token_counts t ANTI JOIN headwords h USING (token_id)
"""
SEARCH = """
SELECT * EXCLUDE (key), count(*) OVER () AS n_found FROM found WHERE starts_with(key, lower($text))
ORDER BY $text <> '' AND key = lower($text) DESC, n_occurrences DESC, n_senses DESC, length(text),
         text, token_id
LIMIT $limit
"""
TOKENS = """
SELECT text, token_id, n_occurrences FROM found WHERE token_id >= 0 AND key = lower($text)
ORDER BY n_occurrences DESC, token_id
"""
FREQUENT = """
SELECT text FROM found WHERE token_id < 0 AND n_senses > 0
ORDER BY n_occurrences DESC, text LIMIT $limit
"""
LIKE = """
WITH asked AS (
    SELECT strip_accents(lower($text)) AS asked, $most * strlen(asked) / length(asked) AS most_bytes
),
near AS (  -- DuckDB counts bytes, so what accents cost would hide what is near without them
    SELECT text, n_occurrences, most_bytes,
           damerau_levenshtein(strip_accents(key), asked) AS n_bytes
    FROM found, asked WHERE token_id < 0 AND abs(length(key) - length($text)) <= $most
)
SELECT text FROM near WHERE n_bytes <= most_bytes
ORDER BY n_bytes, n_occurrences DESC, text LIMIT $limit
"""
