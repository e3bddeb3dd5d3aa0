"""Words that look negated and are not, or not of that base: they never flip."""

_SAME_MEANING = """
inflam unloos unravel inhabit unthaw unbare unstrip dissever disannul
"""
_OTHER_MEANING = """
accustom acquit agnostic alive disabus disaffect disappoint disarray disaster disband disbar
disbowel disburse discal discard discern discharg discipl disclos discograph discolo discomfit
discommod disconcert discord discount discourag discours discover discret discrimin discursi
discuss disdiapason disease disembowel disentrail disert disfigur disfix disgorg disguise
disgust disinform dislocat dismal dismantl dismay dismember dismiss dismutat disomic disparate
dispart dispatch dispel dispend dispense disperse dispirit displac display displos displum
disport disposa dispose disposi disposu disput disrupt dissect dissembl dissemin dissent
dissimulat dissocia dissolut dissolv dissona dissuas dissyllab distal distan distemper distend
distensi distil distinct distort distract distrai distress distribut district disturb illativ
illustr immediate immemorial immigra impassiv impertinen implead implos importab importan
importun impound improvab inaugur incandescen incarnat incorporat incursi indifferen individu
infamous infamy inflexion informat inherit inordinat inpatient input inside insura insure
insuring intact intens invaluabl irrespectiv nonage nonagon nonane nonano nonchalan nondescript
nonene nonentit nonenyl nonesuch nonillion nonpareil nonplus nonsuch unbosom uncann uncate
undeca undecy underl undern undine ungula unhing union unique unison unit univers
unless unnerv untoward
"""
NEVER_STEMS = (*_SAME_MEANING.split(), *_OTHER_MEANING.split())
"""No word that begins so is taken for negated: its base means the same, or is none."""

_APART = """
ageless aged
aweless awful
blindless blinded
bootless boot booted
boreless bored
breathless breathed
classless classy
countless count
dateless dated
disable able
dogless dogged
edgeless edgy
eyeless eyeful
fatless fatted
flightless flighty
fruitless fruity
glassless glassful
hapless happy
headless headful heady
heartless hearty
heartlessly heartily
heartlessness heartiness
homeless homey homy
impartially partially
indirection direction
inviolate violate
legless leggy
listless list listed
listlessness list
masterless masterful
matchless match matchy
mateless matey
measureless measured
moonless moony
mouthless mouthful
needless needy
needlessness neediness
nerveless nervy
newsless newsy
noseless nosey nosy
numberless number numbered
peerless peer peery
pitiless pitiful
priceless price priced pricey pricy
pricelessness price
reckless reck
regardless regard regardful
reserveless reserved
ruthless ruth
ruthlessness ruth
shameless shameful
shiftless shift shifty
skinless skinny
sleepless sleepy
springless springy
starless starred
stingless stingy
stoneless stoned
timeless time timed
timelessness time
tireless tired
unchurch church
unhand hand
unman man
unlicked licked
unsex sex
windless winded
unearth earth
until til
nonanal anal
wireless wire wireful wiry
"""
NEVER_PAIRS = frozenset(
    (line.split()[0], base) for line in _APART.strip().splitlines() for base in line.split()[1:]
)
"""(word, base) that the rules would join and meaning does not; -ly and -ness follow them."""

_NOUNS = """
imbalance immoderation impenitence imperception imperfection imprecision inaction inactivation
inanimation inapplication inattention incaution incompletion incomprehension inconsideration
inconvenience incoordination incorruption indecision indecorum indetermination indigestion
indiscipline indiscretion indisposition inexecution inexperience inexpertise injustice
insubordination intemperance irreligion irresolution
"""
NOUNS_OF_NEGATION = frozenset(_NOUNS.split())
"""Nouns in -tion and the like whose in- is the negative one."""
