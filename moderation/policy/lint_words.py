"""What the static lint looks for in phrases: English words, and look-alikes that hold them without the meaning.

The lists are English; of a phrase in another language only the script is judged.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

# A word stands alone: neither part of a longer word nor of a compound such as two-handed.
_ALONE = r"(?<![\w-])(?:{})(?![\w-])"


def words(*alternatives: str) -> re.Pattern[str]:
    """A pattern that finds any alternative (a regular expression) standing as words of its own, in any case."""
    return re.compile(_ALONE.format("|".join(alternatives)), re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class WordRule:
    """A rule that fires on words of a phrase, once its look-alikes are taken out."""

    code: str
    severity: str
    pattern: re.Pattern[str]
    look_alikes: re.Pattern[str]
    message: str
    fix: str

    def found(self, phrase: str) -> str | None:
        """The words that the rule objects to."""
        match = self.pattern.search(self.look_alikes.sub(" ; ", phrase))
        return match.group(0) if match else None


def _either(*alternatives: str) -> str:
    return f"(?:{'|'.join(alternatives)})"


PERSON = _either(
    "man|men|woman|women|person|people|persons|boys?|girls?|guys?|lady|ladies|gentlem[ae]n|child|children|kids?",
    "bab(?:y|ies)|toddlers?|teenagers?|teens?|adults?|males?|females?|crowd|family|families|couples?|face|faces",
    "soldiers?|police officers?|policem[ae]n|officers?|someone|somebody|neighbou?rs?|students?|workers?",
)
_ANIMATE = _either(PERSON, "dogs?|cats?|horses?|animals?|birds?|cows?|bulls?|bears?|monkeys?")
_DEED = (
    r"(?:hit|punch|kick|slap|beat|attack|stab|shoot|chok|strangl|bit|chas|threaten|push|drag|pull|grab|hold|kiss|touch"
    r"|carry|harass|bully|follow|rob|hurt|fight|bath|feed|help)(?:t|b|g)?(?:ing|s|es|ed|en)"
)
_COUNT = "two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|fifty|hundreds?|thousands?|dozens?"

WORD_RULES = (
    WordRule(
        "L001",
        "error",
        words(
            "no|not|without|except(?: for)?|excluding|never|none|neither|nor|nothing|nobody|cannot|lacking|free of",
            r"(?:is|are|was|were|do|does|did|ca|wo|has|have|had|should|would|could)n['’]?t|absence of|lack of|lacks|devoid of|other than|w/o",
        ),
        words(r"no[- ](?:smoking|entry|parking|swimming|trespassing|fishing|dogs) (?:sign|symbol|notice|logo)s?"),
        "an encoder reads past a negation: it sees the thing that is said to be absent",
        "say what is seen instead, and move the negated thing to the other side of `concepts`",
    ),
    WordRule(
        "L002",
        "error",
        words(
            r"\d+ (?:[a-z]+ )?[a-z]{2,}s",
            f"(?:{_COUNT})",
            r"several|many|multiple|numerous|few|at least|at most|more than|less than|fewer than|exactly|a lot of|lots of",
            r"every|each|both|half of|most of|all of|all the|only one|a couple of",
        ),
        words(
            r"ak 47 \w+|\d+ (?:euros?|dollars?|pounds?|rounds?|mm|cm|years?|proofs?)(?: \w+)?",
            f"(?:{_COUNT}) (?:dollar|euro|pound) \\w+|(?:{_COUNT}) of (?:hearts|spades|clubs|diamonds)|eight ball",
        ),
        "an encoder does not count",
        "drop the number or the quantifier, or count in a detector plugin",
    ),
    WordRule(
        "L003",
        "error",
        words(
            r"(?:to the |on the |at the )(?:left|right)|(?:left|right)[- ](?:hand )?(?:side )?of|above|below|underneath",
            r"beneath|under|behind|inside|near|close to|surrounded by|in front of|next to|beside|between|on top of|opposite",
        ),
        words(
            r"behind (?:the |a )?(?:\w+ )?(?:glass|bars|wheel)|under (?:glass|water|construction|arrest)",
            r"under the (?:sea|influence)|opposite sex",
        ),
        "an encoder does not tell where things stand to each other",
        "name the things without their places, or judge the layout in a detector plugin",
    ),
    WordRule(
        "L004",
        "warning",
        words(f"{_ANIMATE} (?:\\w+ )?{_DEED} (?:by )?(?:\\w+ ){{0,2}}{_ANIMATE}"),
        words("(?!)"),
        "an encoder does not tell who does it to whom",
        "let this policy only ask for review, or describe the scene without roles",
    ),
    WordRule(
        "L006",
        "error",
        words(
            r"intent(?:ion|ions|ional|ionally)?|intend(?:s|ed|ing)?(?: to)?|on purpose|deliberate(?:ly)?|non-?consensual(?:ly)?",
            r"consent(?:s|ed|ing)?|consensual(?:ly)?|(?:il)?legal(?:ly)?|(?:un)?lawful(?:ly)?|(?:un)?licen[cs]ed",
            r"licen[cs]e|unauthori[sz]ed|authori[sz]ed|stolen|counterfeit|genuine|authentic|fraudulent|true|untrue",
            r"misleading|misinformation|false claims?|celebrit(?:y|ies)|famous (?:\w+ )?person|impersonat\w+|undocumented",
        ),
        words(
            r"(?:driver'?s?'?|driving|fishing|hunting|gun|firearms?) licen[cs]e|licen[cs]e (?:plate|card|document)s?",
            r"legal (?:pad|document|notice)s?|consent (?:form|banner)s?",
        ),
        "this cannot be seen or read in the content",
        "move the claim to definition.out_of_reach with the metadata or the people who settle it",
    ),
    WordRule(
        "L018",
        "warning",
        re.compile(r"^(?:or|and|but|such as|including|etc\.?)(?![\w-])", re.IGNORECASE),
        words("(?!)"),
        "the phrase is the end of a sentence: in [...] a comma begins the next phrase",
        "quote a phrase that holds a comma, or make it a phrase of its own",
    ),
)

# Terms that name people by who they are: how they are found in a phrase, by the name they are compared under.
IDENTITIES: dict[str, re.Pattern[str]] = {
    name: words(pattern)
    for name, pattern in {
        "man": "m[ae]n|males?|gentlem[ae]n|guys?",
        "woman": "wom[ae]n|females?|lady|ladies",
        "boy": "boys?",
        "girl": "girls?",
        "child": "child|children|kids?|toddlers?|bab(?:y|ies)",
        "teenager": "teens?|teenagers?",
        "elderly": rf"elderly|old (?:\w+ )?{PERSON}",
        "young": rf"young (?:\w+ )?{PERSON}",
        "muslim": "muslims?|islamic",
        "jewish": "jews?|jewish",
        "christian": "christians?",
        "hindu": "hindus?",
        "sikh": "sikhs?",
        "buddhist": "buddhists?",
        "hijab": "hijabs?",
        "burqa": "burqas?|niqabs?",
        "turban": "turbans?",
        "kippah": "kippahs?|yarmulkes?",
        "gay": "gays?",
        "lesbian": "lesbians?",
        "bisexual": "bisexuals?",
        "transgender": rf"transgender|trans (?:\w+ )?{PERSON}",
        "wheelchair": "wheelchairs?",
        "disabled": "disabled",
        "deaf": "deaf",
        "blind": rf"blind (?:\w+ )?{PERSON}",
        "black": rf"black (?:\w+ )?{PERSON}",
        "white": rf"white (?:\w+ )?{PERSON}",
        "brown": rf"brown (?:\w+ )?{PERSON}",
        "asian": rf"asians|asian (?:\w+ )?{PERSON}",
        "african": rf"africans|african[- ]americans?|african (?:\w+ )?{PERSON}",
        "arab": rf"arabs?|arabic (?:\w+ )?{PERSON}",
        "hispanic": r"hispanics?|latin[oax]s?",
        "indian": rf"indians|indian (?:\w+ )?{PERSON}",
        "mexican": rf"mexicans|mexican (?:\w+ )?{PERSON}",
        "chinese": rf"chinese (?:\w+ )?{PERSON}",
        "immigrant": "immigrants?|refugees?|migrants?",
    }.items()
}

# One word, several things: fires only where nothing else in the phrase tells which.
AMBIGUOUS: dict[str, str] = {
    "bank": "a bank building, or a river bank",
    "bat": "a baseball bat, or a flying bat",
    "bolt": "a metal bolt, or a lightning bolt",
    "bug": "an insect, or a hidden microphone",
    "club": "a wooden club, or a night club",
    "coke": "a cola drink, or cocaine powder",
    "crack": "a crack in a wall, or crack cocaine",
    "crane": "a construction crane, or a crane bird",
    "fan": "an electric fan, or a sports fan",
    "grass": "a lawn, or dried cannabis",
    "horn": "a car horn, or an animal's horn",
    "ice": "ice cubes, or crystal methamphetamine",
    "joint": "a cannabis cigarette, or a pipe joint",
    "magazine": "a printed magazine, or a gun magazine",
    "mouse": "a computer mouse, or a mouse animal",
    "nail": "a metal nail, or a finger nail",
    "pipe": "a tobacco pipe, or a water pipe",
    "pot": "a cooking pot, or dried cannabis",
    "shot": "a glass of liquor, a photograph, or gunfire",
    "speed": "a fast car, or amphetamine powder",
    "spring": "a metal spring, or the season",
    "trunk": "a car trunk, or an elephant's trunk",
    "weed": "dried cannabis, or a garden weed",
}
# Words that do not tell which of several things an ambiguous word means.
PLAIN_WORDS = frozenset(
    [
        "a",
        "an",
        "the",
        "some",
        "one",
        "of",
        "in",
        "on",
        "with",
        "and",
        "or",
        "this",
        "that",
        "picture",
        "photo",
        "photograph",
        "image",
        "drawing",
        "cartoon",
        "icon",
        "emoji",
        "sticker",
        "illustration",
        "closeup",
        "close-up",
        "view",
        "scene",
        "object",
        "thing",
        "big",
        "small",
        "large",
        "little",
        "old",
        "new",
    ]
)

_MINOR = words(
    r"child(?:ren)?|kids?|minors?(?! (?:key|chord|scale|league|injury|injuries|offen[cs]e|issue|edit|change)s?)|under-?aged?|toddlers?|infants?|bab(?:y|ies)|pre-?teens?|teens?",
    r"teenage(?:d|rs?)?|adolescents?|school ?(?:girl|boy)s?|(?:little|young) (?:girl|boy)s?",
)
_SEXUAL = words(
    r"sex|sexual(?:ly|i[sz]ed)?|sexy|porn\w*|nud(?:e|es|ity)|naked|erotic\w*|genitals?|lingerie|explicit acts?"
)
_ACRONYMS = words("csam|csem|csai")
_OTHER_SENSES = words(r"sex(?:ual)? (?:education|health)|baby ?dolls?")


def sexual_content_with_minors(text: str) -> bool:
    """Whether a text speaks of sexual content that involves minors; teaching about health is not that."""
    rest = _OTHER_SENSES.sub(" ", text)
    return bool(_ACRONYMS.search(rest) or (_MINOR.search(rest) and _SEXUAL.search(rest)))


def identities(texts: Iterable[str]) -> set[str]:
    """The identity terms of some phrases, by the name they are compared under."""
    return {name for text in texts for name, pattern in IDENTITIES.items() if pattern.search(text)}


def ambiguous(phrase: str) -> tuple[str, str] | None:
    """The ambiguous noun of a phrase that says nothing else, and what it may mean."""
    content = [word for word in re.findall(r"[\w'-]+", phrase.casefold()) if word not in PLAIN_WORDS]
    if len(content) != 1:
        return None
    for noun in (content[0], content[0].removesuffix("s")):
        if noun in AMBIGUOUS:
            return content[0], AMBIGUOUS[noun]
    return None
