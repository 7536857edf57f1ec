"""Detect the script of a text."""

from collections import Counter

KANA = ("Hira", "Kana")


def script_of(text: str) -> str:
    """Return the script of most of a text's letters, by Unicode's Script property, such as Latin or Cyrillic.

    Han with Hiragana or Katakana is Japanese; a text without letters is Unknown.
    """
    from fontTools import unicodedata

    counts: Counter[str] = Counter()
    for character, count in Counter(text).items():
        if character.isalpha():
            counts[unicodedata.script(character)] += count
    for neutral in ("Zyyy", "Zinh", "Zzzz"):  # letters shared by several scripts
        counts.pop(neutral, None)
    if not counts:
        return "Unknown"
    if sum(counts[each] for each in KANA) > 0.1 * counts.total():
        return "Japanese"
    return str(unicodedata.script_name(counts.most_common(1)[0][0])).replace("_", " ")
