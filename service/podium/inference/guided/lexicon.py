"""English knowledge that planning rests on: function words, number words, months, units, places.

Closed classes only, as tables. Nothing here names a tool: what a tool is about comes from its own
name, description, schema and examples.
"""

from __future__ import annotations

import re
from functools import lru_cache
from zoneinfo import available_timezones

__all__ = [
    "ABBREVIATIONS",
    "CREATIVE_WORDS",
    "FILE_EXTENSIONS",
    "FILE_TYPES",
    "FUNCTION_WORDS",
    "LIGHT_WORDS",
    "MONTHS",
    "NEGATIONS",
    "NUMBER_SCALES",
    "NUMBER_WORDS",
    "PLEASANTRIES",
    "PREPOSITIONS",
    "PRONOUNS",
    "SHORT_UNITS",
    "UNIT_PATTERN",
    "WEEKDAYS",
    "word_list",
    "word_set",
    "zone_cities",
]


def word_list(text: str) -> list[str]:
    """Return the words of a table written as prose."""
    return text.split()


def word_set(text: str) -> frozenset[str]:
    """Return the words of a table written as prose, as a set."""
    return frozenset(text.split())


PREPOSITIONS = word_set(
    "about across after against around as at before behind below beside between beyond by called containing during "
    "for from in inside into named near of off on onto over regarding saying since than that through till titled to "
    "toward towards under until using via with within without"
)
PRONOUNS = word_set(
    "i me my mine we us our you your yours he him his she her hers they them their theirs it its this that these "
    "those there here someone something anyone anything everyone everything one ones myself yourself"
)
_AUXILIARIES = word_set(
    "am is are was were be been being do does did done have has had can could shall should will would may might "
    "must ought let lets's ll 're 've 'd"
)
_QUESTION = word_set("what which who whom whose when where why how whats what's where's who's how's")
_DETERMINERS = word_set("a an the some any each every all both either neither no another other such")
_CONJUNCTIONS = word_set("and or but nor so yet also then plus while if because though although")
PLEASANTRIES = word_set(
    "please pls plz kindly thanks thank thx cheers hi hey hello hiya greetings ok okay yo sorry just quick quickly "
    "quite really maybe perhaps actually well now right away asap dear good morning afternoon evening mate"
)
_LIGHT_VERBS = word_set(
    "want wants need needs like would'd wish wonder wondering know tell give show get got gimme gonna wanna help "
    "able possible curious ask asking say see make go going put take use"
)
FUNCTION_WORDS = (
    PREPOSITIONS
    | PRONOUNS
    | _AUXILIARIES
    | _QUESTION
    | _DETERMINERS
    | _CONJUNCTIONS
    | PLEASANTRIES
    | word_set("much many more most less least too very not don't dont doesn't up down out'")
)
_ADVERBS = word_set(
    "nearly almost already currently still again ever soon exactly approximately roughly about moment today's actually "
    "basically simply also too only even once together finally first next second lastly afterwards altogether"
)
# What asks for words rather than for a tool, unless a tool is about just that.
CREATIVE_WORDS = word_set(
    "write compose draft explain describe summarise summarize imagine pretend recommend suggest rewrite paraphrase "
    "joke poem haiku story essay lyrics song limerick riddle tips advice opinion slogan brainstorm invent rhyme"
)
ABBREVIATIONS = {
    "docs": "documents", "doc": "document", "temp": "temperature", "temps": "temperatures", "info": "information",
    "msg": "message", "msgs": "messages", "mins": "minutes", "hrs": "hours", "dir": "directory", "calc": "calculate",
    "pkg": "package", "appt": "appointment", "mtg": "meeting", "pic": "picture", "pics": "pictures",
    "cond": "conditions",
    "tix": "tickets", "avg": "average", "approx": "approximately", "vol": "volume", "qty": "quantity", "mem": "memory",
    "sec": "second", "secs": "seconds", "pax": "passengers", "ppl": "people", "tmrw": "tomorrow", "num": "number",
}  # fmt: skip
LIGHT_WORDS = FUNCTION_WORDS | _LIGHT_VERBS | _ADVERBS
NEGATIONS = word_set("no not without don't dont doesn't doesnt isn't never skip excluding except off")

NUMBER_WORDS = {
    word: value
    for value, word in enumerate(
        word_list(
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
            "seventeen eighteen nineteen"
        )
    )
} | {
    word: 10 * (value + 2)
    for value, word in enumerate(word_list("twenty thirty forty fifty sixty seventy eighty ninety"))
}
NUMBER_SCALES = {"hundred": 100, "thousand": 1000, "million": 1_000_000, "billion": 1_000_000_000}

_MONTH_NAMES = word_list("january february march april may june july august september october november december")
MONTHS = (
    {name: number for number, name in enumerate(_MONTH_NAMES, 1)}
    | {name[:3]: number for number, name in enumerate(_MONTH_NAMES, 1)}
    | {"sept": 9}
)
_WEEKDAY_NAMES = word_list("monday tuesday wednesday thursday friday saturday sunday")
WEEKDAYS = (
    {name: number for number, name in enumerate(_WEEKDAY_NAMES)}
    | {name[:3]: number for number, name in enumerate(_WEEKDAY_NAMES)}
    | {"tues": 1, "weds": 2, "thur": 3, "thurs": 3}
)

# What people call a kind of file, and the ending it has.
FILE_TYPES = {
    "markdown": "md", "md": "md", "text": "txt", "txt": "txt", "plain text": "txt", "python": "py", "py": "py",
    "json": "json", "csv": "csv", "pdf": "pdf", "pdfs": "pdf", "yaml": "yaml", "yml": "yml", "toml": "toml",
    "xml": "xml", "html": "html", "log": "log", "logs": "log", "javascript": "js", "typescript": "ts", "js": "js",
    "ts": "ts", "png": "png", "jpeg": "jpg", "jpg": "jpg", "gif": "gif", "svg": "svg", "zip": "zip", "sql": "sql",
    "shell": "sh", "bash": "sh", "java": "java", "go": "go", "rust": "rs", "excel": "xlsx", "xlsx": "xlsx",
    "word": "docx", "docx": "docx", "ini": "ini", "css": "css", "tsv": "tsv", "proto": "proto", "rst": "rst",
}  # fmt: skip
FILE_EXTENSIONS = frozenset(FILE_TYPES.values()) | word_set(
    "htm cfg conf jpeg webp mp3 mp4 wav tar gz tgz bak tmp doc xls ppt pptx rtf tex env lock c h cpp hpp rb php ipynb "
    "parquet db sqlite bin dat out err patch diff ps1 bat kt swift scala lua pl r"
)

# Longest first within a family, so that "square metres" wins over "metres". Spellings are matched
# without regard to case; which unit a spelling means is the tool's own business.
_PREFIXED = (
    "(?:nano|micro|milli|centi|deci|kilo|mega|giga|tera|peta|kibi|mebi|gibi|tebi)?"
    "(?:met(?:er|re)s?|lit(?:er|re)s?|grams?|grammes?|watts?|joules?|volts?|amps?|amperes?|hertz|pascals?|newtons?|"
    "bytes?|bits?|seconds?|calories?)"
)
_LENGTHS = "(?:nautical miles?|light[- ]years?|miles?|yards?|yds?|f(?:ee|oo)t|ft|inch(?:es)?|furlongs?|fathoms?)"
_UNITS = (
    rf"(?:square|sq\.?|cubic) (?:{_PREFIXED}|{_LENGTHS}|km|m|cm|mi)",
    r"(?:miles|kilomet(?:er|re)s|met(?:er|re)s|feet|km|m) (?:per|an?|/) (?:hour|second|minute)s?",
    r"(?:km|mi|m|ft|kg|g|l)/(?:h|hr|s|min|l|m3)|mph|kph|kmh|kmph|knots?|fps|mpg",
    r"(?:degrees? )?(?:celsius|centigrade|fahrenheit|kelvins?|rankine)|degrees? [cfk]|°\s?[cfk]|degrees?|radians?",
    r"(?:us |uk |imperial )?(?:fluid ounces?|fl\.? ?oz|gallons?|gal|quarts?|pints?|cups?)",
    r"tablespoons?|teaspoons?|tbsp|tsp",
    r"(?:metric |short |long )?(?:tonnes?|tons?)|stones?|pounds?|lbs?|ounces?|oz|carats?|kilos?|grains?",
    r"hectares?|acres?|barrels?|horsepower|hp|atmospheres?|atm|bars?|psi|mmhg|btu",
    r"kilowatt[- ]hours?|kwh|ev|electronvolts?",
    _PREFIXED,
    _LENGTHS,
    r"minutes?|mins?|hours?|hrs?|days?|weeks?|fortnights?|months?|years?|decades?|centur(?:y|ies)|milliseconds?",
    r"k[mgwjv]|m[mglsw]|c[ml]|d[ml]|[kmgt]i?b|[kmg]bps|[kmg]?hz|kpa|mpa|kcal|ha|um|µm|nm|ms|ns|kn|kt|m[23²³]|km[2²]|cm[23²³]|ft[23²³]|mi",
)
UNIT_PATTERN = re.compile("|".join(f"(?:{unit})" for unit in _UNITS), re.IGNORECASE)
# One letter means a unit only right behind a number ("30 C", "5m") or a conversion word ("to F").
SHORT_UNITS = frozenset("cfkmglshjwvan")


@lru_cache(maxsize=1)
def zone_cities() -> frozenset[str]:
    """Return the lower-case names that the IANA zone list holds (`berlin`, `new york`, `utc`).

    They recognise a place that somebody wrote without a capital.
    """
    names = set()
    for zone in available_timezones():
        head, _, tail = zone.rpartition("/")
        if head.split("/", 1)[0] in {"Etc", "posix", "right", "SystemV"} or (not head and len(zone) > 3):
            continue
        names.add(tail.replace("_", " ").lower())
    return frozenset(names - {"easter", "center", "central", "eastern", "pacific", "mountain", "knox", "general"})
