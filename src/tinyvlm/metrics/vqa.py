"""VQA accuracy: an answer is right as far as the ten people who were asked agree with it.

Each person is left out in turn, and an answer that at least three of the other nine gave is fully right. So an answer
given by 0, 1, 2, 3 or 4 of the ten scores 0, 0.3, 0.6, 0.9 or 1, not 0, 1/3, 2/3 or 1, and the score is no probability.
"""

import re
from collections.abc import Sequence

from tinyvlm.metrics.arguments import checked

_DIGITS = {"none": "0", "zero": "0"} | {
    word: str(number) for number, word in enumerate("one two three four five six seven eight nine ten".split(), start=1)
}
_ARTICLES = frozenset({"a", "an", "the"})
# In this order: each is removed or replaced in what the ones before it left.
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_DIGITS_COMMA = re.compile(r"\d,\d")
# The original, `(?!<=\d)(\.)(?!\d)`, looks ahead where it means to look behind, which never forbids anything: what is
# left is this. And it is called with the value of re.UNICODE where the largest number of replacements belongs.
_PERIOD = re.compile(r"\.(?!\d)")
_MOST_PERIODS = 32

# Words whose lost apostrophe is restored. Each is known without any one of its apostrophes, not without two of them.
_CONTRACTED = """
ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll how's isn't it'd
it'll ma'am mightn't might've mustn't must've needn't not've o'clock oughtn't shan't should've shouldn't somebody'll
somebody's someone'd someone'll someone's something'd something'll that's there'd there're there's they'd they'll
they're they've 'twas wasn't we've weren't what'll what're what's what've when's where'd where's where've who'd who'll
who's who've why'll why're why's won't would've wouldn't y'all you'd you'll you're you've
couldn't've hadn't've he'd've it'd've mightn't've 'ow's'at she'd've shouldn't've somebody'd've someone'd've
something'd've there'd've they'd've we'd've who'd've wouldn't've y'all'll y'all'd've you'd've
""".split()
_CONTRACTIONS = {
    word[:place] + word[place + 1 :]: word for word in _CONTRACTED for place, letter in enumerate(word) if letter == "'"
} | {"somebody'd": "somebodyd"}  # the wrong way round in the original, kept for comparable numbers


@checked
def normalise_answer(answer: str) -> str:
    """The answer as the VQA evaluation compares it.

    Punctuation is removed where it touches a blank, or everywhere in an answer with a comma between digits, and
    otherwise becomes a blank; periods go unless a digit follows; then lower case, number words up to ten (and "none")
    as digits, articles removed, lost apostrophes restored. Source: `vqaEval.py` of the VQA v2 evaluation (Antol et
    al., 2015; Goyal et al., 2017), with its faulty period rule, because published numbers have it. "the U.S." → "us",
    "1,000" → "1000", "no." → "no", "t-shirt" → "t shirt", "dont" → "don't".
    """
    text = answer
    in_number = _DIGITS_COMMA.search(answer) is not None
    for mark in _PUNCTUATION:
        at_edge = mark + " " in answer or " " + mark in answer
        text = text.replace(mark, "" if at_edge or in_number else " ")
    text = _PERIOD.sub("", text, count=_MOST_PERIODS)
    words = [_DIGITS.get(word, word) for word in text.lower().split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


@checked
def vqa_score(answer: str, humans: Sequence[str]) -> float:
    """Score of one answer in [0, 1]: min(1, matches/3) averaged over leaving out each person in turn.

    humans: the answers that people gave, ten in VQA. As in the original evaluation both sides are normalised only if
    the people's raw answers are not all equal; if they are, "No" does not match "no". ValueError for fewer than two
    people, one string in place of a list, or an answer that is no string.
    """
    if isinstance(humans, str) or len(humans) < 2:
        got = "one string" if isinstance(humans, str) else len(humans)
        raise ValueError(f"humans is {got}: pass the answers of at least 2 people, 10 in VQA.")
    answer, *given = (text.replace("\n", " ").replace("\t", " ").strip() for text in (answer, *humans))
    if len(set(given)) > 1:
        answer, *given = (normalise_answer(text) for text in (answer, *given))
    matches = [text == answer for text in given]
    total = sum(matches)
    return sum(min(1.0, (total - match) / 3) for match in matches) / len(given)


@checked
def vqa_accuracy(answers: Sequence[str], humans: Sequence[Sequence[str]]) -> float:
    """Mean of `vqa_score` over questions, in [0, 1].

    answers: one per question. humans: people's answers to each question. ValueError for no questions, lengths that
    differ, or too few people.
    """
    if isinstance(answers, str) or len(answers) == 0:
        raise ValueError("There are no answers to score: pass a list with at least one answer.")
    if len(answers) != len(humans):
        raise ValueError(f"{len(answers)} answers and {len(humans)} lists of people's answers: pass one per question.")
    return sum(vqa_score(answer, given) for answer, given in zip(answers, humans, strict=True)) / len(answers)
