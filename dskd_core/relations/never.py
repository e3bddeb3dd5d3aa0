"""Words that look negated and are not, or not of that base: they never flip."""

NEVER_STEMS = (
    # The base means the same.
    *(
        "inflam",
        "unloos",
        "unravel",
        "inhabit",
        "unthaw",
        "unbare",
        "unstrip",
        "dissever",
        "disannul",
    ),
    # The base means something else, or the affix is none.
    *(
        "impound",
        "discolo",
        "alive",
        "inside",
        "input",
        "dismiss",
        "acquit",
        "accustom",
        "discount",
    ),
    *(
        "invaluabl",
        "infamous",
        "infamy",
        "indifferen",
        "impertinen",
        "immigra",
        "informat",
        "incarnat",
    ),
    *("incandescen", "disease", "discover", "dispatch", "dispute", "dispose", "dispos", "display"),
    *("distance", "distant", "discern", "discard", "disport", "dissolv", "dissect", "disguise"),
    *(
        "distemper",
        "distend",
        "distill",
        "distress",
        "district",
        "disburse",
        "disaster",
        "disappoint",
    ),
    *("dismay", "discipl", "discuss", "distract", "distort", "disturb", "disgust", "dispense"),
    *("disparate", "dispirit", "disrupt", "dissent", "distinct", "discriminat", "disentrail"),
    *("disembowel", "disbowel", "discord", "disperse", "discrimin", "disdiapason", "nonplus"),
    *("disabus", "disarray", "disband", "disbar", "disclos", "disgorg", "dislocat", "dismember"),
    *("dissolut", "disinform", "disfigur", "incorporat", "inherit", "inordinat", "irrespectiv"),
    *("impassiv", "immediate", "unsex", "unmanned", "unhing", "unnerv"),
    *(
        "nonchalan",
        "nonpareil",
        "nonage",
        "nonentit",
        "unless",
        "until",
        "unison",
        "unit",
        "union",
        "unique",
        "univers",
    ),
)
"""No word that begins so is taken for negated."""

NEVER_PAIRS = frozenset(
    {
        ("shameless", "shameful"),
        ("shamelessly", "shamefully"),
        ("shamelessness", "shamefulness"),
        ("pitiless", "pitiful"),
        ("pitilessly", "pitifully"),
        ("headless", "heady"),
        ("heartless", "hearty"),
        ("heartlessly", "heartily"),
        ("heartlessness", "heartiness"),
        ("wireless", "wiry"),
        ("needless", "needy"),
        ("needlessness", "neediness"),
        ("listless", "listed"),
        ("listless", "list"),
        ("listlessness", "list"),
        ("priceless", "price"),
        ("priceless", "pricey"),
        ("priceless", "pricy"),
        ("priceless", "priced"),
        ("pricelessness", "price"),
        ("countless", "count"),
        ("numberless", "number"),
        ("numberless", "numbered"),
        ("timeless", "time"),
        ("timeless", "timed"),
        ("timelessness", "time"),
        ("regardless", "regard"),
        ("regardless", "regardful"),
        ("ruthless", "ruth"),
        ("ruthlessness", "ruth"),
        ("reckless", "reck"),
        ("wireless", "wire"),
        ("wireless", "wireful"),
        ("disable", "able"),
        ("inviolate", "violate"),
        ("impartially", "partially"),
        ("aweless", "awful"),
        ("eyeless", "eyeful"),
        ("fruitless", "fruity"),
        ("homeless", "homey"),
        ("homeless", "homy"),
        ("bootless", "boot"),
        ("bootless", "booted"),
        ("shiftless", "shift"),
        ("shiftless", "shifty"),
        ("nerveless", "nervy"),
        ("matchless", "match"),
        ("matchless", "matchy"),
        ("peerless", "peer"),
        ("peerless", "peery"),
    }
)
"""(word, base) that the rules would join and meaning does not."""

_NOUNS = (
    "inaction inattention indiscretion imperfection irresolution indisposition imprecision "
    "indecision inexecution incorruption inconsideration indetermination insubordination "
    "inanimation irreligion injustice"
)
NOUNS_OF_NEGATION = frozenset(_NOUNS.split())
"""Nouns in -tion and the like whose in- is the negative one."""
