"""Words whose senses or relations are known, and how well a model's states tell them apart.

The data are the user's: WiC, CoarseWSD-20, any table of words in sentences, lists of synonyms and
antonyms. ``files.py`` finds their files, ``readers.py`` turns those into items, ``states.py`` runs
a model over their sentences, ``measures.py`` compares the states with the dictionary's senses,
``store.py`` keeps a row an item.
"""

STAGE = "sense-scores"
